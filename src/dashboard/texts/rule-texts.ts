/** Confirmation rules. */
export const RULE_TEXTS = {
  'rule.change': ['Change', '変更'],
  'rule.change.create': ['another rule', 'ルールの追加'],
  'rule.change.update': ['another content', 'ルールの更新'],
  'rule.change.delete': ['deletion', 'ルールの削除'],
  'rule.from': ['{before} → {after}', '{before} → {after}'],
  'rule.operations': ['Operations', '操作'],
  'rule.scope': ['For', '範囲'],
  'rule.scope.everything': ['everything', 'すべて'],
  'rule.scope.label': ['VMs with {label}', '{label} の VM'],
  'rule.scope.vms_one': ['{count} named VM', '指定した VM {count} 台'],
  'rule.scope.vms_other': ['{count} named VMs', '指定した VM {count} 台'],
  'rule.roles': ['Asked by', '依頼者'],
  'rule.anybody': ['anybody', '全員'],
  'rule.exceptRoles': ['But not by', '除外する依頼者'],
  'rule.approvals': ['Approvals', '承認数'],
} as const;
