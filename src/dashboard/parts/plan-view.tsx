import type { CapturePlan, Plan, RestorePlan } from '../../contract/preflight.ts';
import { useTexts } from '../texts/i18n.ts';
import type { Texts } from '../texts/i18n.ts';
import { Facts } from './facts.tsx';
import type { Fact } from './facts.tsx';
import { LevelLabel } from './labels.tsx';
import { useFormat } from './use-format.ts';
import type { Format } from '../logic/format.ts';
import { Note } from './note.tsx';
import { ruleFacts } from './rule-facts.tsx';

/** What an operation would do, in plain words. */
export function PlanView({ plan }: { readonly plan: Plan }): React.ReactElement {
  const texts = useTexts();
  const format = useFormat();
  return (
    <div className="kd-stack">
      <PlanNotes plan={plan} />
      <Facts facts={factsOf(plan, texts, format)} />
    </div>
  );
}

function factsOf(plan: Plan, texts: Texts, format: Format): (Fact | null)[] {
  const confirmation: Fact = [
    texts.t('plan.confirmation'),
    <>
      {texts.t(plan.confirmationNeeded ? 'plan.confirmationNeeded' : 'plan.noConfirmation')}{' '}
      <span className="kd-quiet" lang="en">
        {plan.confirmation.explanation}
      </span>
    </>,
  ];
  switch (plan.operation) {
    case 'create':
      return [...captureFacts(plan, texts, format), confirmation];
    case 'restore':
      return [...restoreFacts(plan, texts, format), confirmation];
    case 'change-rules':
      return [...ruleFacts(plan, texts), confirmation];
    case 'delete':
    case 'export':
    case 'verify':
    case 'collect':
      return [confirmation];
    default:
      return plan satisfies never;
  }
}

function captureFacts(plan: CapturePlan, { t, word }: Texts, format: Format): (Fact | null)[] {
  const space = (needed: number, free: number | null): string =>
    free === null
      ? t('plan.about', { value: format.bytes(needed) })
      : t('plan.spaceOf', { needed: format.bytes(needed), free: format.bytes(free) });
  return [
    [
      t('plan.level'),
      <>
        <LevelLabel level={plan.level} reason={plan.levelReason} />{' '}
        {word('level-meaning', plan.level)}
      </>,
    ],
    [
      t('plan.pause'),
      plan.estimatedPauseMs === 0
        ? t('plan.noPause')
        : t('plan.about', { value: format.duration(plan.estimatedPauseMs) }),
    ],
    plan.memoryMode === null
      ? null
      : [
          t('plan.memory'),
          `${format.bytes(plan.memoryBytes)}, ${word('memory-mode', plan.memoryMode)}`,
        ],
    [
      t('plan.disks'),
      plan.disks
        .map(({ target, allocatedBytes }) => `${target} ${format.bytes(allocatedBytes)}`)
        .join(', ') || t('common.none'),
    ],
    [t('plan.repository'), space(plan.repositoryBytesEstimated, plan.freeBytes)],
    plan.scratchBytesNeeded === 0
      ? null
      : [t('plan.scratch'), space(plan.scratchBytesNeeded, plan.scratchFreeBytes)],
  ];
}

function restoreFacts(plan: RestorePlan, { t }: Texts, format: Format): (Fact | null)[] {
  const yesNo = (value: boolean): string => t(value ? 'common.yes' : 'common.no');
  return [
    [t('plan.target'), plan.vmName],
    [t('plan.stopsVm'), yesNo(plan.stopsVm)],
    [t('plan.startsVm'), yesNo(plan.startsVm)],
    [t('plan.resumesMemory'), yesNo(plan.resumesMemory)],
    plan.mode === 'rollback' ? [t('plan.safety'), yesNo(plan.safetySnapshot)] : null,
    [
      t('plan.toWrite'),
      plan.freeBytes === null
        ? format.bytes(plan.bytesToWrite)
        : t('plan.spaceOf', {
            needed: format.bytes(plan.bytesToWrite),
            free: format.bytes(plan.freeBytes),
          }),
    ],
  ];
}

function PlanNotes({ plan }: { readonly plan: Plan }): React.ReactElement {
  const { t, word } = useTexts();
  return (
    <>
      {plan.problems.map((problem) => (
        <Note
          key={`${problem.code} ${problem.reason}`}
          variant="danger"

          title={word('error', problem.code)}
        >
          <p lang="en">{problem.reason}</p>
          <p lang="en">{t('common.whatToDo', { text: problem.whatToDo })}</p>
        </Note>
      ))}
      {plan.warnings.map((warning) => (
        <Note
          key={`${warning.code} ${warning.message}`}
          variant="warning"

          title={<span lang="en">{warning.message}</span>}
        />
      ))}
      {plan.operation === 'create'
        ? plan.skipped.map((skipped) => (
            <p key={skipped.target} className="kd-quiet">
              {t('plan.skipped', { target: skipped.target, reason: skipped.reason })}
            </p>
          ))
        : null}
    </>
  );
}

export function PlanAge({ plan }: { readonly plan: CapturePlan }): React.ReactElement {
  const { t } = useTexts();
  const format = useFormat();
  return (
    <span className="kd-quiet" title={format.time(plan.inventoryAt)}>
      {t('plan.inventoryAt', { when: format.ago(plan.inventoryAt, new Date()) })}
    </span>
  );
}
