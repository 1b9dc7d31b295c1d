import { Button, Modal, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import { Link } from '@tanstack/react-router';
import { useId } from 'react';
import type { AuditEvent } from '../../contract/audit-events.ts';
import { useTexts } from '../texts/i18n.ts';
import { Facts } from './facts.tsx';
import type { Fact } from './facts.tsx';
import { StateLabel } from './labels.tsx';
import { TimeText } from './time-text.tsx';

export function AuditDetail(props: {
  readonly event: AuditEvent;
  readonly onClose: () => void;
}): React.ReactElement {
  const { t } = useTexts();
  const id = useId();
  const { event, onClose } = props;
  return (
    <Modal isOpen variant="medium" aria-labelledby={id} onEscapePress={onClose}>
      <ModalHeader title={t('audit.detail', { sequence: event.sequence })} labelId={id} />
      <ModalBody tabIndex={0}>
        <EventFacts event={event} />
      </ModalBody>
      <ModalFooter>
        <Button onClick={onClose}>{t('common.close')}</Button>
      </ModalFooter>
    </Modal>
  );
}

function EventFacts({ event }: { readonly event: AuditEvent }): React.ReactElement {
  const { t } = useTexts();
  const facts: (Fact | null)[] = [
    [t('audit.time'), <TimeText at={event.at} />],
    [
      t('audit.actor'),
      <>
        {event.actor.name}
        {event.onBehalfOf === null
          ? null
          : ` ${t('audit.onBehalf', { name: event.onBehalfOf.name })}`}
      </>,
    ],
    event.sourceAddress === null ? null : [t('audit.source'), event.sourceAddress],
    [t('audit.action'), <code>{event.action}</code>],
    [
      t('audit.what'),
      [event.resourceType, event.resourceName, event.resourceId].filter(Boolean).join(' · '),
    ],
    [t('audit.outcome'), <StateLabel group="outcome" state={event.outcome} />],
    event.reason === null ? null : [t('field.reason'), event.reason],
    event.requestId === null
      ? null
      : [
          t('field.request'),
          <Link to="/requests/$requestId" params={{ requestId: event.requestId }}>
            {event.requestId}
          </Link>,
        ],
    [t('audit.details'), <pre className="kd-json">{JSON.stringify(event.details, null, 2)}</pre>],
    [t('audit.hash'), <code className="kd-path">{event.hash}</code>],
    [t('audit.previousHash'), <code className="kd-path">{event.previousHash}</code>],
  ];
  return <Facts facts={facts} />;
}
