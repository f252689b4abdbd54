import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { type ErrorCode, errorTable } from '../../src/errors.ts';
import { validatePolicyText } from '../../src/policies/policy-text.ts';
import { root } from './support/build.ts';
import { blocksOf } from './support/markdown.ts';

const documents = [
  ...readdirSync(root).filter((name) => name.endsWith('.md')),
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

function read(name: string): string {
  return readFileSync(join(root, name), 'utf8');
}

/** Returns the cells of a document's table rows whose first cell is in backticks. */
function rowsOf(name: string): string[][] {
  return read(name)
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

const plain = (cell = ''): string => cell.replaceAll('`', '');

describe('docs/errors.md', () => {
  it('lists every error code, in the order of the table, with its status, OAuth error and title', () => {
    const described = rowsOf('docs/errors.md').map(([code, status, oauth, title]) =>
      [code, status, oauth, title].map(plain),
    );
    const codes = Object.keys(errorTable) as ErrorCode[];
    const known = codes.map((code) => {
      const {
        status,
        title,
        oauth = '',
      } = errorTable[code] as { status: number; title: string; oauth?: string };
      return [code, String(status), oauth, title];
    });
    expect(described).toEqual(known);
  });
});

describe('README.md', () => {
  it('stays under 250 lines', () => {
    expect(read('README.md').trimEnd().split('\n').length).toBeLessThan(250);
  });
});

describe('docs/configuration.md', () => {
  const rows = rowsOf('docs/configuration.md').filter(([name]) => /^`[A-Z_]+`/.test(name ?? ''));
  const source = read('src/config.ts');
  const names = [...source.matchAll(/^ {2}([A-Z][A-Z_]+): /gm)].map(([, name]) => name ?? '');

  it('lists every variable, and states which have a _FILE twin', () => {
    const secrets = [...source.matchAll(/^ {2}'([A-Z_]+)',$/gm)].map(([, name]) => name ?? '');
    expect(names.length).toBeGreaterThan(10);
    expect(rows.map(([cell]) => plain(cell))).toEqual(
      names.map((name) => (secrets.includes(name) ? `${name} or _FILE` : name)),
    );
  });

  it('states the actual defaults', () => {
    const defaults = new Map(
      rows.map(([name, value]) => [plain(name).replace(' or _FILE', ''), plain(value)]),
    );
    const config = readConfig({});
    const actual: Record<string, unknown> = {
      HALLPASS_DPOP_NONCE: config.dpopNonce,
      HALLPASS_GATEWAY_HOST: config.gatewayHost,
      HALLPASS_GATEWAY_PORT: config.gatewayPort,
      HALLPASS_HOST: config.host,
      HALLPASS_PORT: config.port,
      HALLPASS_METRICS_HOST: config.metricsHost,
      HALLPASS_METRICS_PORT: config.metricsPort,
      HALLPASS_LOG_LEVEL: config.logLevel,
      HALLPASS_PREPARED_STATEMENTS: config.preparedStatements ? 'on' : 'off',
      HALLPASS_RATE_LIMIT: config.rateLimitPerSecond,
      HALLPASS_ROLE: config.role,
      HALLPASS_SHUTDOWN_DELAY_SECONDS: config.shutdownDelaySeconds,
      HALLPASS_SHUTDOWN_GRACE_SECONDS: config.shutdownGraceSeconds,
      HALLPASS_SHUTDOWN_SECONDS: config.shutdownSeconds,
    };
    for (const name of names) {
      const value = actual[name];
      if (name === 'HALLPASS_DATA_DIR') expect(config.dataDirectory).toBe(join(process.cwd(), '.hallpass'));
      else expect(defaults.get(name), name).toBe(value === undefined ? 'none' : String(value));
    }
  });
});

describe.each(documents)('%s', (name) => {
  it('links to files and headings that exist', () => {
    const links = [...read(name).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target ?? '');
    for (const link of links.filter((target) => !/^(https?|mailto):/.test(target))) {
      const [path = '', anchor] = link.split('#');
      const target = path === '' ? name : join(dirname(name), path);
      expect(existsSync(join(root, target)), `${name} links to ${link}`).toBe(true);
      if (anchor === undefined) continue;
      const headings = [...read(target).matchAll(/^#+ (.+)$/gm)].map(([, text = '']) =>
        text
          .toLowerCase()
          .replaceAll(/[^\w\- ]/g, '')
          .replaceAll(' ', '-'),
      );
      expect(headings, `${name} links to ${link}`).toContain(anchor);
    }
  });

  it('names files that exist', () => {
    const paths = [...read(name).matchAll(/`((?:src|test|docs|migrations)\/[\w./-]+)`/g)].map(
      ([, path]) => path ?? '',
    );
    for (const path of paths) expect(existsSync(join(root, path)), `${name} names ${path}`).toBe(true);
  });

  it('shows only valid policies', () => {
    for (const { text, line } of blocksOf(read(name)).filter(({ language }) => language === 'cedar')) {
      expect(validatePolicyText(text), `${name}:${line}`).toMatchObject({ ok: true });
    }
  });
});
