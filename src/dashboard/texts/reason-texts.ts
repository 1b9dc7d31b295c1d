/** The reasons of contract/state-predicates.ts in Japanese; a test asks every predicate for all of its. */
export const REASON_TEXTS: Readonly<Record<string, string>> = {
  'The snapshot is still being taken.': 'スナップショットを取得中です。',
  'The snapshot is being deleted.': 'スナップショットを削除中です。',
  'The snapshot was deleted.': 'スナップショットは削除されました。',
  'The snapshot was not completed; it can only be deleted.':
    'スナップショットは完成していません。削除だけができます。',
  'The snapshot is damaged: its stored data is not what was captured.':
    'スナップショットは破損しています。保存データが取得時と異なります。',
  'A restore from this snapshot is under way.': 'このスナップショットから復元中です。',
  'The snapshot is about to be deleted.': 'スナップショットは削除される予定です。',
  'An export of this snapshot is under way.': 'このスナップショットを書き出し中です。',
  'This snapshot is being verified.': 'このスナップショットを検証中です。',
  'The repository is being collected.': 'リポジトリの不要データを回収中です。',
  'The snapshot is pinned; unpin it first.': '固定されています。先に固定を解除してください。',
  'The VM is gone from its host; make a new VM from the snapshot instead.':
    'VM はホストから消失しました。スナップショットから新しい VM を作成してください。',
  'libvirt is busy with another job on this VM.': 'libvirt がこの VM で別の処理を実行中です。',
  'The VM is gone from its host.': 'VM はホストから消失しました。',
  'The guest has crashed; stop the VM or start it anew first.':
    'ゲストがクラッシュしています。先に VM を停止するか、起動し直してください。',
  'The VM is between states; try again in a moment.':
    'VM は状態の遷移中です。しばらくしてからやり直してください。',
  'The request was approved already.': '依頼はすでに承認されています。',
  'The request is being executed.': '依頼は実行中です。',
  'The request was executed already.': '依頼はすでに実行されました。',
  'The request was executed and failed.': '依頼は実行され、失敗しました。',
  'The request was rejected.': '依頼は却下されました。',
  'The request expired.': '依頼は期限が切れました。',
  'The request was cancelled.': '依頼は取り消されました。',
  'Somebody else than the requester has to approve.': '依頼者以外の人の承認が必要です。',
  'You approved already; somebody else has to approve as well.':
    'すでに承認しています。ほかの人の承認も必要です。',
  'Only who asked for something, or an administrator, can cancel it.':
    '取り消せるのは依頼者または管理者だけです。',
  'The job is being undone already.': 'ジョブはすでに元に戻されています。',
  'The job is over.': 'ジョブは終了しています。',
  'The job was told to stop already.': 'ジョブにはすでに停止が指示されています。',
};
