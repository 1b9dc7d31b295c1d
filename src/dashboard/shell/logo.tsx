import { useTexts } from '../texts/i18n.ts';

/** A frame and the frames after it: shooting frame by frame. */
export function Logo(): React.ReactElement {
  const { t } = useTexts();
  return (
    <span className="kd-logo">
      <svg viewBox="0 0 24 16" width="30" height="20" aria-hidden="true">
        <rect x="0" y="0" width="15" height="16" rx="2.5" />
        <rect x="16.5" y="0" width="3" height="16" rx="1.5" opacity="0.7" />
        <rect x="21" y="0" width="2.5" height="16" rx="1.25" opacity="0.4" />
      </svg>
      <span>{t('app.name')}</span>
    </span>
  );
}
