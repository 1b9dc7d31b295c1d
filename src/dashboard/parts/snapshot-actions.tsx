import { Dropdown, DropdownItem, DropdownList, MenuToggle } from '@patternfly/react-core';
import { EllipsisVIcon } from '@patternfly/react-icons/dist/esm/icons/ellipsis-v-icon';
import { lazy, Suspense, useState } from 'react';
import type { Snapshot } from '../../contract/snapshots.ts';
import { snapshotCan } from '../../contract/state-predicates.ts';
import { useWhoami } from '../api.ts';
import { permit } from '../logic/verdicts.ts';
import type { Permission } from '../logic/verdicts.ts';
import { useTexts } from '../texts/i18n.ts';
import { PermissionButton, usePermissionReason } from './permission.tsx';
import type { SnapshotDialogProps } from './snapshot-dialog-props.ts';

const DIALOGS = {
  restore: lazy(async () => ({
    default: (await import('../dialogs/restore-dialog.tsx')).RestoreDialog,
  })),
  verify: lazy(async () => ({
    default: (await import('../dialogs/verify-dialog.tsx')).VerifyDialog,
  })),
  export: lazy(async () => ({
    default: (await import('../dialogs/export-dialog.tsx')).ExportDialog,
  })),
  edit: lazy(async () => ({ default: (await import('../dialogs/edit-dialog.tsx')).EditDialog })),
  delete: lazy(async () => ({
    default: (await import('../dialogs/delete-dialog.tsx')).DeleteDialog,
  })),
} as const;

type Action = keyof typeof DIALOGS;
const ACTIONS: readonly Action[] = ['restore', 'verify', 'export', 'edit', 'delete'];

function usePermissions(snapshot: Snapshot): Readonly<Record<Action, Permission>> {
  const whoami = useWhoami().data;
  const rights = whoami?.rights;
  const isMine = snapshot.createdBy.id === whoami?.principal.id;
  return {
    restore: permit(snapshotCan.restore(snapshot), 'restore', rights),
    verify: permit(snapshotCan.verify(snapshot), 'view', rights),
    export: permit(snapshotCan.export(snapshot), 'export', rights),
    edit: permit(snapshotCan.edit(snapshot), 'create', rights),
    delete: permit(snapshotCan.delete(snapshot), isMine ? 'delete-own' : 'delete', rights),
  };
}

function ActionDialog(
  props: SnapshotDialogProps & { readonly action: Action },
): React.ReactElement {
  const { action, ...rest } = props;
  const Dialog = DIALOGS[action];
  return (
    <Suspense fallback={null}>
      <Dialog {...rest} />
    </Suspense>
  );
}

/** All that can be done with a snapshot; what cannot be done now says why. */
export function SnapshotMenu({ snapshot }: { readonly snapshot: Snapshot }): React.ReactElement {
  const { t } = useTexts();
  const [isOpen, setOpen] = useState(false);
  const [action, setAction] = useState<Action | null>(null);
  const permissions = usePermissions(snapshot);
  const reasonOf = usePermissionReason();
  return (
    <>
      <Dropdown
        isOpen={isOpen}
        onOpenChange={setOpen}
        onSelect={() => setOpen(false)}
        popperProps={{ position: 'right' }}
        shouldFocusToggleOnSelect
        toggle={(ref) => (
          <MenuToggle
            ref={ref}
            variant="plain"
            isExpanded={isOpen}
            aria-label={t('common.actionsFor', { name: snapshot.name })}
            icon={<EllipsisVIcon />}
            onClick={() => setOpen(!isOpen)}
          />
        )}
      >
        <DropdownList>
          {ACTIONS.map((name) => {
            const why = reasonOf(permissions[name]);
            return (
              <DropdownItem
                key={name}
                isDanger={name === 'delete' && why === undefined}
                isAriaDisabled={why !== undefined}
                description={why}
                onClick={() => setAction(name)}
              >
                {t(`action.${name}`)}
              </DropdownItem>
            );
          })}
        </DropdownList>
      </Dropdown>
      {action === null ? null : (
        <ActionDialog action={action} snapshot={snapshot} onClose={() => setAction(null)} />
      )}
    </>
  );
}

/** The same as buttons, where there is room. */
export function SnapshotButtons({ snapshot }: { readonly snapshot: Snapshot }): React.ReactElement {
  const { t } = useTexts();
  const [action, setAction] = useState<Action | null>(null);
  const permissions = usePermissions(snapshot);
  return (
    <>
      {ACTIONS.map((name) => (
        <PermissionButton
          key={name}
          permission={permissions[name]}
          variant={name === 'restore' ? 'primary' : name === 'delete' ? 'danger' : 'secondary'}
          onClick={() => setAction(name)}
        >
          {t(`action.${name}`)}
        </PermissionButton>
      ))}
      {action === null ? null : (
        <ActionDialog action={action} snapshot={snapshot} onClose={() => setAction(null)} />
      )}
    </>
  );
}
