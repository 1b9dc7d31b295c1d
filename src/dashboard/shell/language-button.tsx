import { Button } from '@patternfly/react-core';
import { setLanguage, useLanguage } from '../preferences.ts';
import { useTexts } from '../texts/i18n.ts';

/** Says the other language in that language, for whoever cannot read this one. */
export function LanguageButton(): React.ReactElement {
  const { t } = useTexts();
  const other = useLanguage() === 'en' ? 'ja' : 'en';
  return (
    <Button variant="plain" lang={other} onClick={() => setLanguage(other)}>
      {t(other === 'ja' ? 'shell.language.ja' : 'shell.language.en')}
    </Button>
  );
}
