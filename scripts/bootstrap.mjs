// Runs under whatever Node (18 or newer) the machine has: installs the npm packages if the lock file
// changed, then hands over to the project's own Node, which comes with them.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const COMMANDS = {
  quickstart: 'scripts/quickstart.ts',
  test: 'scripts/test.ts',
  bench: 'scripts/bench.ts',
  check: 'scripts/check.ts',
  setup: 'scripts/setup/setup.ts',
  build: 'scripts/build-dashboard.ts',
};

const STAMP = path.join('node_modules', '.komadori-lock-sha256');
const FORWARDED_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** @param {string} root */
function lockHash(root) {
  return createHash('sha256')
    .update(readFileSync(path.join(root, 'package-lock.json')))
    .digest('hex');
}

/**
 * Whether node_modules is what package-lock.json asks for.
 * @param {string} root
 */
function packagesAreCurrent(root) {
  const stamp = path.join(root, STAMP);
  return existsSync(stamp) && readFileSync(stamp, 'utf8').trim() === lockHash(root);
}

/**
 * The project's own Node, or why there is none for this machine.
 * @param {{ root: string, platform: string, arch: string }} machine
 */
function locateNode({ root, platform, arch }) {
  if (platform !== 'linux' || (arch !== 'x64' && arch !== 'arm64')) {
    return { problem: `Komadori runs on Linux on x64 or arm64, not on ${platform} on ${arch}.` };
  }
  const node = path.join(root, 'node_modules', `node-linux-${arch}`, 'bin', 'node');
  if (existsSync(node)) return { node };
  return {
    problem: `${node} is missing: npm left the optional package node-linux-${arch} out. Remove node_modules and run this again without --omit=optional.`,
  };
}

/**
 * `npm test -- x` gives `x`; a direct call may have the `--` still in it.
 * @param {readonly string[]} args
 */
function splitArguments(args) {
  const [command = '', ...rest] = args;
  return { command, rest: rest[0] === '--' ? rest.slice(1) : rest };
}

/** @param {string} root */
function installPackages(root) {
  console.error('setup: installing the npm packages of package-lock.json (npm ci)');
  const strict = runNpm(root, ['ci']);
  if (strict.status !== 0) {
    // `npm ci` wants every platform's optional packages in the lock file, which npm leaves out when
    // the registry in use does not have them. Versions and digests are those of the lock file here too.
    console.error('setup: npm ci refused; taking this platform only (npm install --no-save)');
    const lenient = runNpm(root, ['install', '--no-save']);
    if (lenient.status !== 0) {
      for (const { stdout, stderr } of [strict, lenient]) console.error(`${stdout}${stderr}`);
      fail('The npm packages could not be installed; what npm said is above.');
    }
  }
  writeFileSync(path.join(root, STAMP), `${lockHash(root)}\n`);
}

/**
 * @param {string} root
 * @param {string[]} args
 */
function runNpm(root, args) {
  // Under `npm run` npm says where its own program is; that one fits the Node that runs us.
  const npm = process.env.npm_execpath;
  const [program, first] = npm && /\.c?js$/.test(npm) ? [process.execPath, [npm]] : ['npm', []];
  const result = spawnSync(program, [...first, ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
  });
  if (result.error) fail(`npm could not be started (${result.error.message}); install npm.`);
  return result;
}

/**
 * @param {string} message
 * @returns {never}
 */
function fail(message) {
  console.error(message);
  process.exit(1);
}

/** @param {string[]} args */
function main(args) {
  const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
  const { command, rest } = splitArguments(args);
  if (!Object.prototype.hasOwnProperty.call(COMMANDS, command)) {
    fail(`usage: node scripts/bootstrap.mjs ${Object.keys(COMMANDS).join('|')} [arguments]`);
  }
  if (!packagesAreCurrent(root)) installPackages(root);
  const found = locateNode({ root, platform: process.platform, arch: process.arch });
  if (!found.node) fail(found.problem);

  const script = path.join(root, COMMANDS[command]);
  const child = spawn(found.node, [script, ...rest], { stdio: 'inherit' });
  for (const signal of FORWARDED_SIGNALS) {
    process.on(signal, () => {
      // A terminal sends Ctrl-C to the child too; a second one would mean "stop at once".
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
    });
  }
  child.on('error', (error) => fail(`${found.node} could not be started: ${error.message}`));
  child.on('exit', (code, signal) => {
    if (!signal) process.exit(code);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

main(process.argv.slice(2));
