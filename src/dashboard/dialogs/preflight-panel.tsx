import { Spinner } from '@patternfly/react-core';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import type { UseQueryResult } from '@tanstack/react-query';
import type { CapturePlan } from '../../contract/preflight.ts';
import type { Vm } from '../../contract/vms.ts';
import { useClient } from '../api.ts';
import type { CreateForm } from '../logic/create-input.ts';
import { PlanAge, PlanView } from '../parts/plan-view.tsx';
import { ProblemAlert } from '../parts/problem-alert.tsx';
import { useTexts } from '../texts/i18n.ts';
import { Note } from '../parts/note.tsx';

/** Asked again at every change that matters to it. */
export function usePreflight(
  vm: Pick<Vm, 'id'>,
  form: Pick<CreateForm, 'kind' | 'quiesce' | 'skipDisks'>,
): UseQueryResult<CapturePlan> {
  const client = useClient();
  const body = { kind: form.kind, quiesce: form.quiesce, skipDisks: [...form.skipDisks] };
  return useQuery({
    queryKey: ['vmPreflight', vm.id, body],
    queryFn: async ({ signal }) =>
      await client.call('vmPreflight', { params: { id: vm.id }, body }, { signal }),
    placeholderData: keepPreviousData,
  });
}

export function PreflightPanel(props: {
  readonly preflight: UseQueryResult<CapturePlan>;
}): React.ReactElement {
  const { t } = useTexts();
  const { data: plan, error, isFetching } = props.preflight;
  return (
    <section className="kd-plan" aria-label={t('plan.title')} aria-live="polite">
      <h2 className="kd-plan-title">
        {t('plan.title')}
        {isFetching ? (
          <Spinner isInline aria-label={t('plan.checking')} aria-valuetext={t('plan.checking')} />
        ) : null}
      </h2>
      {error === null ? null : <ProblemAlert error={error} />}
      {plan === undefined ? null : (
        <>
          {plan.possible ? null : <Note isPlain variant="danger" title={t('plan.impossible')} />}
          <PlanView plan={plan} />
          <PlanAge plan={plan} />
        </>
      )}
    </section>
  );
}
