import {
  Breadcrumb,
  BreadcrumbItem,
  Content,
  PageBreadcrumb,
  PageSection,
} from '@patternfly/react-core';
import { useTexts } from '../texts/i18n.ts';

export function PageFrame(props: {
  readonly title: string;
  /** Beside the title. */
  readonly badges?: React.ReactNode;
  readonly actions?: React.ReactNode;
  /** The page above, as a link. */
  readonly above?: React.ReactNode;
  readonly children: React.ReactNode;
}): React.ReactElement {
  const { t } = useTexts();
  return (
    <>
      <title>{t('app.title', { page: props.title })}</title>
      {props.above === undefined ? null : (
        <PageBreadcrumb>
          <Breadcrumb aria-label={t('shell.path')}>
            <BreadcrumbItem>{props.above}</BreadcrumbItem>
            <BreadcrumbItem isActive>{props.title}</BreadcrumbItem>
          </Breadcrumb>
        </PageBreadcrumb>
      )}
      <PageSection className="kd-page-head">
        <div className="kd-title">
          <Content component="h1">{props.title}</Content>
          {props.badges}
        </div>
        {props.actions === undefined ? null : <div className="kd-actions">{props.actions}</div>}
      </PageSection>
      <PageSection isFilled>{props.children}</PageSection>
    </>
  );
}
