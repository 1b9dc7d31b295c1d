import { describeProblem } from '../logic/problem.ts';
import { useTexts } from '../texts/i18n.ts';
import { Note } from './note.tsx';

/** What happened and what to do about it. */
export function ProblemAlert({ error }: { readonly error: unknown }): React.ReactElement {
  const { t, word } = useTexts();
  const problem = describeProblem(error);
  return (
    <Note isLive variant="danger" level="h2" title={word('error', problem.code)}>
      <p lang="en">{problem.message}</p>
      {problem.whatToDo === null ? null : (
        <p lang="en">{t('common.whatToDo', { text: problem.whatToDo })}</p>
      )}
      {problem.httpRequestId === null ? null : (
        <p className="kd-quiet">{t('common.serverRequest', { id: problem.httpRequestId })}</p>
      )}
    </Note>
  );
}

/** A failure that is kept with a request, a job or a snapshot. */
export function FailureAlert(props: {
  readonly title: string;
  readonly failure: { readonly code: string; readonly message: string };
  readonly children?: React.ReactNode;
}): React.ReactElement {
  const { word } = useTexts();
  return (
    <Note variant="danger" level="h2" title={props.title}>
      <p>
        <strong>{word('error', props.failure.code)}</strong>
      </p>
      <p lang="en">{props.failure.message}</p>
      {props.children}
    </Note>
  );
}
