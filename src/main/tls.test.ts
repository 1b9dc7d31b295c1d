import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { connect } from 'node:tls';
import { promisify } from 'node:util';
import { silentLogger } from '../shared/logger.ts';
import { startServer } from './server.ts';
import { loadSettings } from './settings.ts';
import { readTlsFiles, renewTls, type TlsFiles } from './tls-files.ts';

const run = promisify(execFile);

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'tls-'));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

async function makeCertificate(folder: string, name: string): Promise<TlsFiles> {
  const files = {
    certFile: path.join(folder, `${name}.crt`),
    keyFile: path.join(folder, `${name}.key`),
  };
  const key = '-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'.split(' ');
  const wish = `-x509 -days 2 -subj /CN=${name} -addext subjectAltName=IP:127.0.0.1`.split(' ');
  const written = ['-keyout', files.keyFile, '-out', files.certFile];
  await run('openssl', ['req', ...key, ...wish, ...written]);
  return files;
}

async function get(url: string, ca: string): Promise<{ status: number; hsts: string }> {
  const asked = request(url, { ca });
  asked.end();
  const [response] = await once(asked, 'response');
  response.resume();
  const hsts: unknown = response.headers['strict-transport-security'];
  return { status: Number(response.statusCode), hsts: String(hsts) };
}

const subjectAt = async (port: number): Promise<string> => {
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const { CN } = socket.getPeerCertificate().subject;
  socket.destroy();
  return String(CN);
};

test('with a certificate the server speaks TLS only, from version 1.2 on', async (t) => {
  const folder = await temporaryFolder(t);
  const tls = await makeCertificate(folder, 'first');
  const server = await startServer({
    databasePath: path.join(folder, 'catalog.db'),
    listen: { host: '127.0.0.1', port: 0 },
    logger: silentLogger,
    tls,
  });
  t.after(() => server.close());
  assert.match(server.url, /^https:/);
  const ca = await readFile(tls.certFile, 'utf8');
  const answer = await get(`${server.url}/healthz`, ca);
  assert.equal(answer.status, 200);
  assert.match(answer.hsts, /max-age=\d{7,}/);
  await assert.rejects(fetch(`${server.url.replace('https', 'http')}/healthz`));
  const port = Number(new URL(server.url).port);
  const old = connect({ port, host: '127.0.0.1', ca, maxVersion: 'TLSv1.1', minVersion: 'TLSv1' });
  const [refusal] = await once(old, 'error');
  assert.match(String(refusal), /version|protocol/i);
  assert.equal(await subjectAt(port), 'first');
});

test('renewed files are taken up, files that cannot be used are not', async (t) => {
  const folder = await temporaryFolder(t);
  const files = await makeCertificate(folder, 'first');
  const other = await makeCertificate(folder, 'second');
  const taken: unknown[] = [];
  const server = { setSecureContext: (keys: unknown) => void taken.push(keys) };
  const first = await readTlsFiles(files);
  assert.equal(await renewTls(server, files, first), first);
  await copyFile(other.certFile, files.certFile);
  await assert.rejects(renewTls(server, files, first), { code: 'invalid_input' });
  assert.equal(taken.length, 0);
  await copyFile(other.keyFile, files.keyFile);
  assert.notEqual(await renewTls(server, files, first), first);
  assert.equal(taken.length, 1);
  await rm(files.keyFile);
  await assert.rejects(readTlsFiles(files), { code: 'invalid_input' });
});

test('plain HTTP is for this machine only, unless it is asked for', async (t) => {
  const folder = await temporaryFolder(t);
  const configPath = path.join(folder, 'komadori.json');
  const load = async (listen: object): Promise<string> => {
    await writeFile(configPath, JSON.stringify({ dataFolder: folder, listen }));
    return (await loadSettings({ configPath })).listen.host;
  };
  for (const host of ['127.0.0.1', '127.8.9.10', '::1', 'localhost'])
    assert.equal(await load({ host }), host);
  for (const host of ['0.0.0.0', '::', '192.0.2.7', 'komadori.example', '127.0.0.1.example'])
    await assert.rejects(load({ host }), { code: 'invalid_input' }, host);
  const tls = { certFile: '/etc/komadori/tls.crt', keyFile: '/etc/komadori/tls.key' };
  assert.equal(await load({ host: '0.0.0.0', tls }), '0.0.0.0');
  assert.equal(await load({ host: '0.0.0.0', allowPlainHttp: true }), '0.0.0.0');
  await assert.rejects(loadSettings({ configPath: undefined, dataFolder: folder, host: '::' }), {
    code: 'invalid_input',
  });
});
