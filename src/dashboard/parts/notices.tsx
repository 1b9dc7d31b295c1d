import { Alert, AlertActionCloseButton, AlertGroup } from '@patternfly/react-core';
import { createContext, use, useCallback, useMemo, useState } from 'react';
import { useTexts } from '../texts/i18n.ts';

export interface Notice {
  readonly text: string;
  readonly link?: React.ReactNode;
}

type Say = (notice: Notice) => void;

const NoticeContext = createContext<Say>(() => undefined);
const KeptNoticesContext = createContext<React.ReactNode>(null);

export const useNotice = (): Say => use(NoticeContext);

const NOTICES_MAX = 4;
const NOTICE_MS = 10_000;

/** What just happened, said once, also to screen readers. Shown by `NoticeArea`. */
export function NoticeProvider(props: { readonly children: React.ReactNode }): React.ReactElement {
  const { t } = useTexts();
  const [notices, setNotices] = useState<readonly (Notice & { readonly id: number })[]>([]);
  const say = useCallback<Say>((notice) => {
    setNotices((before) => [
      ...before.slice(1 - NOTICES_MAX),
      { ...notice, id: (before.at(-1)?.id ?? 0) + 1 },
    ]);
  }, []);
  const area = useMemo(
    () => (
      <AlertGroup isToast isLiveRegion hasAnimations={false}>
        {notices.map((notice) => {
          const close = (): void =>
            setNotices((before) => before.filter((one) => one.id !== notice.id));
          return (
            <Alert
              key={notice.id}
              variant="success"
              variantLabel={t('note.success')}
              component="h2"
              title={notice.text}
              timeout={NOTICE_MS}
              onTimeout={close}
              actionClose={
                <AlertActionCloseButton aria-label={t('notice.dismiss')} onClose={close} />
              }
              actionLinks={notice.link}
            />
          );
        })}
      </AlertGroup>
    ),
    [notices, t],
  );
  return (
    <NoticeContext value={say}>
      <KeptNoticesContext value={area}>{props.children}</KeptNoticesContext>
    </NoticeContext>
  );
}

/** Inside the router, since notices hold links. */
export const NoticeArea = (): React.ReactNode => use(KeptNoticesContext);
