export const AUDIT_TEXTS = {
  'audit.export': [
    'write the audit trail to standard output or a file',
    '監査記録を標準出力またはファイルに書き出す',
  ],
  'audit.headsChecked': [
    'Heads in manifests that were found in it: {count}',
    'マニフェスト内の先頭ハッシュのうち、記録で確認できた数: {count}',
  ],
  'audit.headIs': ['Head, to be kept elsewhere: {head}', '先頭 (別の場所に控えてください): {head}'],
  'option.auditActor': ['only what this user or token did', 'この利用者が行ったものだけ'],
  'option.auditOutcome': [
    'only this outcome: intent, succeeded, failed, denied',
    'この結果だけ (intent, succeeded, failed, denied)',
  ],
  'option.auditResourceId': ['only about the thing with this id', 'この ID の対象だけ'],
  'option.auditResourceName': ['only about things of this name', 'この名前の対象だけ'],
  'option.auditResourceType': [
    'only about things of this type, e.g. snapshot',
    'この種類の対象だけ (例 snapshot)',
  ],
  'option.auditSearch': [
    'only with this text in action, names, reason or address',
    '操作、名前、理由、送信元にこの文字列を含むものだけ',
  ],
  'option.auditUntil': ['only before this time', 'この時刻より前だけ'],
  'option.auditOrder': ['newest (default) or oldest first', 'newest (既定) または oldest の順'],
  'option.auditFormat': ['jsonl (default) or csv', 'jsonl (既定) または csv'],
  'option.auditOutput': [
    'a new file instead of standard output',
    '標準出力の代わりの新しいファイル',
  ],
  'option.verifyDatabase': [
    'check this catalog, or a copy of one, without a server',
    'サーバーを使わず、このカタログ (またはその写し) を検証する',
  ],
  'option.verifyExport': [
    'check this JSON-lines export, without a server',
    'サーバーを使わず、この JSON Lines の書き出しを検証する',
  ],
  'option.verifyRepository': [
    'also compare with the manifests in this repository folder',
    'このリポジトリフォルダーのマニフェストとも照合する',
  ],
  'option.verifyKeyFile': ['key file of that repository', 'そのリポジトリの鍵ファイル'],
  'option.verifyPassphraseFile': [
    'file with the passphrase of that repository',
    'そのリポジトリのパスフレーズを入れたファイル',
  ],
  'option.verifyHead': [
    'a head that was kept elsewhere, as number:hash',
    '控えておいた先頭 (番号:ハッシュ)',
  ],
  'error.auditSource': [
    'Give either --database or --export; the other options need one of them.',
    '--database か --export のどちらか一方を指定してください。他のオプションにはそのどちらかが必要です。',
  ],
  'error.auditOffline': [
    'This build of the command line cannot verify without a server.',
    'このコマンドはサーバーなしの検証ができません。',
  ],
} as const;
