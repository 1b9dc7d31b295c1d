import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planDaemons } from './daemons.ts';
import { availablePackages, missingPackages } from './packages.ts';

test('only packages that dpkg calls installed count as there', () => {
  const lines = 'installed qemu-utils\nconfig-files ovmf\nnot-installed swtpm\n';
  assert.deepEqual(missingPackages(['qemu-utils', 'ovmf', 'swtpm', 'nbdkit', 'ovmf'], lines), [
    'ovmf',
    'swtpm',
    'nbdkit',
  ]);
});

test('packages without a candidate are not available', () => {
  const policy = `ovmf:
  Installed: (none)
  Candidate: 2022.11-6
  Version table:
     2022.11-6 500
chromium:
  Installed: (none)
  Candidate: (none)
`;
  assert.deepEqual([...availablePackages(policy)], ['ovmf']);
});

test('daemons are started only where nobody answers, by the service manager if there is one', () => {
  assert.equal(planDaemons({ answers: true, serviceManager: true }), 'nothing');
  assert.equal(planDaemons({ answers: true, serviceManager: false }), 'nothing');
  assert.equal(planDaemons({ answers: false, serviceManager: true }), 'systemd');
  assert.equal(planDaemons({ answers: false, serviceManager: false }), 'by-hand');
});
