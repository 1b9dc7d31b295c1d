import { readFileSync } from 'node:fs';
import { startService } from './quickstart/service.ts';
import { say, showMainJob } from './quickstart/story.ts';
import { buildDashboard } from './build-dashboard.ts';
import { runScript, setUp } from './setup/setup.ts';

const PORT = Number(process.env['KOMADORI_PORT'] ?? 8470);

await runScript(async () => {
  const startedMs = performance.now();
  await setUp([]);
  await buildDashboard();
  const service = await startService(PORT);
  await showMainJob(service);
  const seconds = Math.round((performance.now() - startedMs) / 1000);
  say(`
Done in ${seconds} s. Komadori goes on running:
   dashboard and API  ${service.url}
   sign in with       the token in ${service.tokenPath} (administrator)
   command line       bin/komadori login --url ${service.url} < ${service.tokenPath}
   then               bin/komadori vm list; bin/komadori snapshot list
   log                ${service.logPath}
   stop it with       kill ${readFileSync(service.pidPath, 'utf8').trim()}
The demo VM komadori-demo goes on too; remove it with: virsh destroy komadori-demo; virsh undefine komadori-demo --checkpoints-metadata`);
  return 0;
});
