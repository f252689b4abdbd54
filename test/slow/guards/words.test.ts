import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { atEnd } from '../../support/at-end.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../../..');
/** Written in two parts, because the check reads this file as well. */
const privateWord = ['me', 'nded'].join('');

interface Planted {
  tracked: Record<string, string>;
  untracked?: Record<string, string>;
}

/** Runs the check in a new git repository with these files. */
async function checkWords({ tracked, untracked = {} }: Planted) {
  const project = mkdtempSync(join(tmpdir(), 'hallpass-words-'));
  atEnd(async () => rmSync(project, { recursive: true }));
  const write = (files: Record<string, string>): void => {
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(dirname(join(project, name)), { recursive: true });
      writeFileSync(join(project, name), content);
    }
  };
  write(tracked);
  execFileSync('git', ['init', '--quiet'], { cwd: project });
  execFileSync('git', ['add', '--all'], { cwd: project });
  write(untracked);
  const tsx = join(root, 'node_modules/tsx/dist/cli.mjs');
  return run(process.execPath, [tsx, join(root, 'scripts/check-words.ts')], { cwd: project }).then(
    ({ stdout }) => ({ code: 0, stdout }),
    (error: { code: number; stdout: string }) => error,
  );
}

describe.concurrent('the word list of npm run check', () => {
  it('is part of npm run check', () => {
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    expect(scripts.check).toContain('npm run --silent check:rest');
    expect(scripts['check:rest']).toContain('npm run --silent check:words');
    expect(scripts['check:words']).toBe('tsx scripts/check-words.ts');
  });

  it('refuses a private word with its file, its line and the words to use instead', async () => {
    const { code, stdout } = await checkWords({
      tracked: {
        'src/a.ts': `/** Fine. */\n// The key was ${privateWord}.\n`,
        'docs/b.md': `# Fine\n\nIt was ${privateWord}\n`,
        'migrations/0099_new.sql': `-- ${privateWord}\n`,
      },
    });
    expect(stdout.trim().split('\n')).toEqual([
      `docs/b.md:3: "${privateWord}": write fix, repair`,
      `migrations/0099_new.sql:1: "${privateWord}": write fix, repair`,
      `src/a.ts:2: "${privateWord}": write fix, repair`,
    ]);
    expect(code).toBe(1);
  });

  it('reads tracked files only, and neither generated files nor applied migrations', async () => {
    const text = `// ${privateWord}\n`;
    const { code, stdout } = await checkWords({
      tracked: {
        'src/a.ts': '// repaired\n',
        'src/http/api.gen.ts': text,
        'openapi.yaml': text,
        'migrations/0001_broker.sql': text,
      },
      untracked: { 'src/untracked.ts': text, '.hallpass/log': text },
    });
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' });
  });
});
