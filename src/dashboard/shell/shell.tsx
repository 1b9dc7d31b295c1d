import { Page, PageSidebar, PageSidebarBody, SkipToContent } from '@patternfly/react-core';
import { Outlet } from '@tanstack/react-router';
import { useState } from 'react';
import { useLiveUpdates } from '../live.ts';
import { NoticeArea } from '../parts/notices.tsx';
import { useTexts } from '../texts/i18n.ts';
import { MainNavigation } from './main-navigation.tsx';
import { TopBar } from './top-bar.tsx';

const CONTENT_ID = 'content';

export function Shell(): React.ReactElement {
  const { t } = useTexts();
  const [isWide, setWide] = useState(true);
  const [isOpen, setOpen] = useState(true);
  useLiveUpdates();
  const closeOnPhone = (): void => {
    if (!isWide) setOpen(false);
  };
  return (
    <Page
      mainContainerId={CONTENT_ID}
      mainAriaLabel={t('nav.label')}
      masthead={<TopBar isOpen={isOpen} onToggle={() => setOpen(!isOpen)} />}
      onPageResize={(_, { mobileView }) => {
        if (mobileView === isWide) {
          setWide(!mobileView);
          setOpen(!mobileView);
        }
      }}
      sidebar={
        <PageSidebar isSidebarOpen={isOpen}>
          <PageSidebarBody>
            <MainNavigation onChosen={closeOnPhone} />
          </PageSidebarBody>
        </PageSidebar>
      }
      skipToContent={<SkipToContent href={`#${CONTENT_ID}`}>{t('app.skip')}</SkipToContent>}
    >
      <Outlet />
      <NoticeArea />
    </Page>
  );
}
