import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { isBootstrapKey } from '../../src/admins/admin.ts';
import { parseMasterKey } from '../../src/crypto/master-key.ts';
import { freePort } from '../support/free-port.ts';
import { type BrokerProcess, launch, temporaryDirectory } from './support/broker-process.ts';
import { ensureBuilt, root } from './support/build.ts';
import { type Block, blocksOf, matches, sectionOf } from './support/markdown.ts';

const run = promisify(execFile);
const readme = readFileSync(join(root, 'README.md'), 'utf8');
const walk = blocksOf(sectionOf(readme, 'A walk in ten minutes'));
const [announcement] = walk;
const verifier = blocksOf(sectionOf(readme, 'How a resource server verifies a token')).find(
  ({ language }) => language === 'js',
);

interface Step {
  command: Block;
  /** What the README shows below the command, if it shows something. */
  expected: Block | undefined;
}

const steps: Step[] = walk.flatMap((block, index) => {
  const next = walk[index + 1];
  if (block.language !== 'sh') return [];
  return [{ command: block, expected: next?.language === 'text' ? next : undefined }];
});

const mark = (line: number): string => `=== done with line ${line} ===`;

let broker: BrokerProcess;
let url: string;
beforeAll(async () => {
  await ensureBuilt();
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  const HALLPASS_DATA_DIR = await temporaryDirectory();
  broker = launch({ HALLPASS_DATA_DIR, HALLPASS_PORT: String(port) }, ['npm', 'start']);
  await broker.seen('Hallpass listens on');
  await broker.seen('\n    hpa_');
});

/** Every step in one bash, as a reader would type them; the output of each, by the line it stands in. */
async function walkThrough(): Promise<{ outputs: string[]; stopped: string }> {
  const script = [
    'set -euo pipefail',
    'exec 2>&1',
    ...steps.map(({ command }) => `${command.text}\necho; echo '${mark(command.line)}'`),
    'node --input-type=module -e "$VERIFIER"',
  ];
  const [key] = /hpa_\w+/.exec(broker.stdout()) ?? [];
  const env = {
    PATH: process.env.PATH,
    HALLPASS: url,
    ADMIN_KEY: key,
    VERIFIER: `${verifier?.text.replace('https://hallpass.example.com', url)}
      const claims = await verify(process.env.ACCESS_TOKEN, 'chat');
      await verify(process.env.ACCESS_TOKEN, 'models.write').catch((error) => console.log(error.message));
      console.log(claims.aud);`,
  };
  const exported = script.join('\n').replace('\nACCESS_TOKEN=', '\nexport ACCESS_TOKEN; ACCESS_TOKEN=');
  const options = { cwd: root, env, timeout: 25_000 };
  const { stdout } = await run('bash', ['--noprofile', '--norc', '-c', exported], options).catch(
    (error: { stdout: string }) => error,
  );
  const outputs: string[] = [];
  let rest = stdout;
  for (const { command } of steps) {
    const [before, after] = rest.split(`\n${mark(command.line)}\n`);
    if (after === undefined) return { outputs, stopped: rest };
    outputs.push(before ?? '');
    rest = after;
  }
  return { outputs, stopped: rest };
}

describe('the walk in the README', () => {
  it('begins with what the broker prints at its first start', () => {
    const shown = announcement?.text.replace('http://127.0.0.1:8080', url) ?? '';
    const printed = broker.stdout();
    expect(matches(shown, printed.slice(printed.indexOf('Hallpass listens')))).toBe(true);
  });

  it('works as it stands, command by command, and shows what it says it shows', async () => {
    expect(steps.length).toBeGreaterThan(10);
    const { outputs, stopped } = await walkThrough();
    expect(outputs.length, `README.md:${steps[outputs.length]?.command.line} fails:\n${stopped}`).toBe(
      steps.length,
    );
    for (const [index, { command, expected }] of steps.entries()) {
      const shown = outputs[index] ?? '';
      if (expected === undefined) expect(shown, `README.md:${command.line} shows nothing`).toBe('');
      else if (!matches(expected.text, shown))
        expect(shown, `README.md:${expected.line}`).toBe(expected.text);
    }
    // The resource server's code, with a token of the walk: good for its own scope and no other.
    expect(stopped.trim().split('\n')).toEqual(['insufficient_scope', 'https://llm.example/v1']);
  });

  it('ends with Ctrl-C, which is no failure', async () => {
    // The terminal sends it to npm and the broker alike.
    process.kill(-(broker.child.pid ?? Number.NaN), 'SIGINT');
    expect(await broker.exited).toMatchObject({ code: 0, signal: null });
  });

  it('is executed for real: a wrong command, or a wrong answer, is told', () => {
    expect(matches("{ status: 'active' }\n", "{ status: 'pending' }")).toBe(false);
    expect(matches('hpa_...\n', 'hpa_x\ny')).toBe(false);
    expect(matches('hpa_...\n', 'hpa_x\n')).toBe(true);
    expect(() => blocksOf('```sh\nls\n')).toThrow('never closed');
  });
});

describe('what the README tells operators to generate', () => {
  const commands = blocksOf(sectionOf(readme, 'In production')).filter(({ text }) =>
    text.startsWith('node -p'),
  );
  const generate = async (index: number): Promise<string> =>
    (await run('bash', ['-c', commands[index]?.text ?? 'false'])).stdout.trim();

  it('is a master key', async () => {
    expect(parseMasterKey(await generate(0)).version).toMatch(/^[0-9a-f]{8}$/);
  });

  it('is a bootstrap key', async () => {
    expect(isBootstrapKey(await generate(1))).toBe(true);
  });
});
