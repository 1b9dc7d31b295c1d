/** Signing in with a password, and what guards an account. */
export const ACCOUNT_TEXTS = {
  'signIn.name': ['User', '利用者名'],
  'signIn.password': ['Password', 'パスワード'],
  'signIn.code': ['One-time code', 'ワンタイムコード'],
  'signIn.codeHelp': [
    'From your app, or a recovery code. Leave it empty if you have not set codes up.',
    'アプリのコードまたは回復コードです。設定していない場合は空のままにします。',
  ],
  'signIn.wrong': [
    'The name, the password or the one-time code is not right.',
    '利用者名、パスワード、またはワンタイムコードが正しくありません。',
  ],
  'signIn.temporary': [
    'This password is a temporary one. Choose your own.',
    'これは仮パスワードです。新しいパスワードを決めてください。',
  ],
  'signIn.useToken': ['Use an API token', 'API トークンを使う'],
  'signIn.usePassword': ['Use a password', 'パスワードを使う'],

  'password.title': ['Password', 'パスワード'],
  'password.changed': ['Changed', '変更日時'],
  'password.change': ['Change the password', 'パスワードを変更'],
  'password.set': ['Set a password', 'パスワードを設定'],
  'password.current': ['Current password', '現在のパスワード'],
  'password.new': ['New password', '新しいパスワード'],
  'password.again': ['New password again', '新しいパスワード (再入力)'],
  'password.help': [
    'At least 12 characters. Some words that do not belong together are best.',
    '12 文字以上。互いに関係のない言葉をいくつか並べるのが最適です。',
  ],
  'password.different': ['The two are not the same.', '一致しません。'],
  'password.consequence': [
    'All other sessions and tokens of yours end with the old password.',
    '古いパスワードとともに、他のセッションとトークンはすべて終わります。',
  ],
  'password.done': ['The password is changed.', 'パスワードを変更しました。'],

  'codes.title': ['One-time codes', 'ワンタイムコード'],
  'codes.state': ['Asked for at the sign-in', 'サインイン時に要求'],
  'codes.left': ['Recovery codes left', '残りの回復コード'],
  'codes.begin': ['Set up', '設定する'],
  'codes.remove': ['Remove', '設定を消す'],
  'codes.renew': ['New recovery codes', '回復コードを作り直す'],
  'codes.proof': ['Show once more that it is you.', '本人であることをもう一度確認します。'],
  'codes.type': [
    'Type this secret into your app. It is shown only now.',
    'この秘密鍵をアプリに入力してください。表示は今回限りです。',
  ],
  'codes.link': ['Open it in an app on this device', 'この端末のアプリで開く'],
  'codes.shown': ['Code that the app shows', 'アプリに表示されたコード'],
  'codes.confirm': ['Switch on', '有効にする'],
  'codes.keepTitle': ['Recovery codes', '回復コード'],
  'codes.keep': [
    'Shown only now. Each stands in for a code once; keep them in a safe place.',
    '表示は今回限りです。コードの代わりに一度ずつ使えます。安全な場所に保管してください。',
  ],
  'codes.kept': ['I have kept them', '保管しました'],

  'sessions.title': ['Your sessions', 'セッション'],
  'sessions.none': ['No browser is signed in.', 'サインイン中のブラウザーはありません。'],
  'sessions.program': ['Browser', 'ブラウザー'],
  'sessions.current': ['this one', '現在のもの'],
  'sessions.end': ['End', '終わらせる'],
  'sessions.ended': ['The session has ended.', 'セッションを終わらせました。'],
} as const;
