import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { isBootstrapKey } from '../../../src/admins/admin.ts';
import { parseMasterKey } from '../../../src/crypto/master-key.ts';
import { type BrokerProcess, launch, temporaryDirectory } from '../../e2e/support/broker-process.ts';
import { ensureBuilt, root } from '../../e2e/support/build.ts';
import { type Block, blocksOf, matches, sectionOf } from '../../e2e/support/markdown.ts';
import { freePort } from '../../support/free-port.ts';

const run = promisify(execFile);
/** Ends a command that hangs; a walkthrough takes seconds. */
const limitMs = 240_000;
const read = (name: string): string => readFileSync(join(root, name), 'utf8');
const walkthrough = blocksOf(sectionOf(read('README.md'), 'A walkthrough in five minutes'));
const [announcement] = walkthrough;
const verifier = blocksOf(read('docs/resource-servers.md')).find(({ language }) => language === 'js');

interface Step {
  command: Block;
  /** The output that the document shows below the command, if it shows one. */
  expected: Block | undefined;
}

function stepsOf(blocks: Block[]): Step[] {
  return blocks.flatMap((block, index) => {
    const next = blocks[index + 1];
    if (block.language !== 'sh') return [];
    return [{ command: block, expected: next?.language === 'text' ? next : undefined }];
  });
}

const mark = (index: number): string => `=== done with step ${index} ===`;

let broker: BrokerProcess;
let url: string;
let adminKey: string;
beforeAll(async () => {
  await ensureBuilt();
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  const HALLPASS_DATA_DIR = await temporaryDirectory();
  const settings = {
    HALLPASS_DATA_DIR,
    HALLPASS_PORT: String(port),
    HALLPASS_TARGET_ALLOW: '127.0.0.0/8',
    HALLPASS_OUTBOUND_ALLOW: '127.0.0.0/8',
  };
  broker = launch(settings, ['npm', 'start']);
  await broker.seen('Hallpass listens on');
  await broker.seen('\n    hpa_');
  adminKey = /hpa_\w+/.exec(broker.stdout())?.[0] ?? '';
});

/** Makes the changes to a command that a reader makes before running it. */
const asReader = (command: string): string =>
  command.replace('http://127.0.0.1:8080', url).replace('hpa_paste_it_here', adminKey);

/**
 * Runs every step in one bash, as a reader would type them.
 *
 * @param last - A script that runs after the steps, in the same shell.
 * @returns The output of each step that succeeded, and the output after the last of them.
 */
async function runSteps(steps: Step[], last = ''): Promise<{ outputs: string[]; rest: string }> {
  const script = [
    'set -euo pipefail',
    // A step that fails leaves no server behind.
    "trap 'kill $(jobs -p) 2> /dev/null || true' EXIT",
    'exec 2>&1',
    ...steps.map(({ command }, index) => `${asReader(command.text)}\necho; echo '${mark(index)}'`),
    last,
  ];
  const env = { PATH: `${dirname(process.execPath)}:${process.env.PATH}`, HOME: process.env.HOME };
  const options = { cwd: root, env, timeout: limitMs };
  const { stdout } = await run(
    'bash',
    ['--noprofile', '--norc', '-c', script.join('\n')],
    options as object,
  ).catch((error: { stdout: string }) => error);
  const outputs: string[] = [];
  let rest = String(stdout);
  for (const index of steps.keys()) {
    const [before, after] = rest.split(`\n${mark(index)}\n`);
    if (after === undefined) break;
    outputs.push(before ?? '');
    rest = after;
  }
  return { outputs, rest };
}

async function expectShown(name: string, steps: Step[], last?: string): Promise<string> {
  const { outputs, rest } = await runSteps(steps, last);
  expect(outputs.length, `${name}:${steps[outputs.length]?.command.line} fails:\n${rest}`).toBe(steps.length);
  for (const [index, { command, expected }] of steps.entries()) {
    const shown = outputs[index] ?? '';
    if (expected === undefined) expect(shown, `${name}:${command.line} shows nothing`).toBe('');
    else if (!matches(expected.text, shown)) expect(shown, `${name}:${expected.line}`).toBe(expected.text);
  }
  return rest;
}

describe('the walkthrough in the README', () => {
  it('begins with what the broker prints at its first start', () => {
    const shown = asReader(announcement?.text ?? '');
    const printed = broker.stdout();
    expect(matches(shown, printed.slice(printed.indexOf('Hallpass listens')))).toBe(true);
  });

  it('works as written, command by command, and shows the output that it promises', async () => {
    const steps = stepsOf(walkthrough);
    expect(steps.length).toBeGreaterThan(5);
    // The code of docs/resource-servers.md accepts a token of the walkthrough for its own scope only.
    const program = `${verifier?.text.replace('https://hallpass.example.com', url)}
      const { access_token } = JSON.parse(process.env.ANSWER);
      await verify(access_token, 'chat').catch((error) => console.log(error.message));
      console.log((await verify(access_token, 'models.write')).aud);`;
    const last = `ANSWER=$(cat access-token.json); export ANSWER; cd '${root}'
      node --input-type=module -e "$(cat <<'END'\n${program}\nEND\n)"`;
    const rest = await expectShown('README.md', steps, last);
    expect(rest.trim().split('\n')).toEqual(['insufficient_scope', 'https://llm.example/v1']);
  }, 300_000);

  it('has a sequel in docs/leases.md, with a database as the target of a lease', async () => {
    const steps = stepsOf(blocksOf(sectionOf(read('docs/leases.md'), 'A walkthrough')));
    expect(steps.length).toBe(4);
    await expectShown('docs/leases.md', steps);
  }, 300_000);

  it('has a sequel in docs/gateway.md, with an API whose key no agent sees', async () => {
    const steps = stepsOf(blocksOf(sectionOf(read('docs/gateway.md'), 'A walkthrough')));
    expect(steps.length).toBe(4);
    await expectShown('docs/gateway.md', steps);
  }, 300_000);

  it('is continued by docs/grants.md, in the same shell', async () => {
    const steps = stepsOf(blocksOf(read('docs/grants.md')));
    expect(steps.length).toBe(3);
    const { outputs, rest } = await runSteps([...stepsOf(walkthrough), ...steps]);
    const shown = outputs.slice(stepsOf(walkthrough).length);
    expect(shown.length, `docs/grants.md:${steps[shown.length]?.command.line} fails:\n${rest}`).toBe(3);
    for (const [index, { expected }] of steps.entries())
      if (expected === undefined || !matches(expected.text, shown[index] ?? ''))
        expect(shown[index], `docs/grants.md:${expected?.line}`).toBe(expected?.text);
  }, 300_000);

  it('has a counterpart in docs/setting-up.md, which creates the same by hand', async () => {
    const steps = stepsOf(blocksOf(read('docs/setting-up.md')));
    expect(steps.length).toBe(5);
    await expectShown('docs/setting-up.md', steps);
  }, 300_000);

  it('ends with Ctrl-C, which is not a failure', async () => {
    // The terminal sends it to npm and to the broker.
    process.kill(-(broker.child.pid ?? Number.NaN), 'SIGINT');
    expect(await broker.exited).toMatchObject({ code: 0, signal: null });
  });

  it('is compared strictly: a wrong output or an open code block fails', () => {
    expect(matches('{"status":"active"}\n', '{"status":"pending"}')).toBe(false);
    expect(matches('hpa_...\n', 'hpa_x\ny')).toBe(false);
    expect(matches('hpa_...\n', 'hpa_x\n')).toBe(true);
    expect(() => blocksOf('```sh\nls\n')).toThrow('never closed');
  });
});

describe('the commands of docs/production.md that generate keys', () => {
  const commands = blocksOf(read('docs/production.md')).filter(({ text }) => text.startsWith('node -p'));
  const generate = async (index: number): Promise<string> =>
    (await run('bash', ['-c', commands[index]?.text ?? 'false'])).stdout.trim();

  it('generate a master key', async () => {
    expect(parseMasterKey(await generate(0)).version).toMatch(/^[0-9a-f]{8}$/);
  });

  it('generate a bootstrap key', async () => {
    expect(isBootstrapKey(await generate(1))).toBe(true);
  });
});
