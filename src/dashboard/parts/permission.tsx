import { Button, Tooltip } from '@patternfly/react-core';
import type { ButtonProps } from '@patternfly/react-core';
import type { Permission } from '../logic/verdicts.ts';
import { useTexts } from '../texts/i18n.ts';

/** Why something is not possible, in the reader's language; undefined when it is. */
export function usePermissionReason(): (permission: Permission) => string | undefined {
  const { t, word, reason } = useTexts();
  return (permission) => {
    if (permission.allowed) return undefined;
    if ('missingRight' in permission)
      return t('common.needsRight', { right: word('right', permission.missingRight) });
    return reason(permission.reason);
  };
}

/** Stays in sight and in the tab order when it cannot be used, and says why. */
export function PermissionButton(
  props: Omit<ButtonProps, 'isAriaDisabled' | 'ref'> & { readonly permission: Permission },
): React.ReactElement {
  const { permission, ...button } = props;
  const why = usePermissionReason()(permission);
  if (why === undefined) return <Button {...button} />;
  return (
    <Tooltip content={why}>
      <Button {...button} isAriaDisabled />
    </Tooltip>
  );
}
