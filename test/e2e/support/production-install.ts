import { chmodSync, cpSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, sep } from 'node:path';
import { atEnd } from '../../support/at-end.ts';
import { temporaryDirectory } from './broker-process.ts';
import { root } from './build.ts';

interface Lock {
  packages: Record<string, { dev?: boolean; optional?: boolean; devOptional?: boolean }>;
}

/** The packages that `npm ci --omit=dev --omit=optional` installs, as paths in the repository. */
export function productionPackages(): string[] {
  const { packages }: Lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  return Object.entries(packages)
    .filter(([path, { dev, optional, devOptional }]) => path !== '' && !dev && !optional && !devOptional)
    .map(([path]) => path);
}

/**
 * The tree of the image's last stage, without a registry: what a production install holds is copied from what is
 * installed here. Nobody may write into it.
 */
export async function installForProduction(copied: readonly string[]): Promise<string> {
  const target = await temporaryDirectory();
  for (const path of copied) cpSync(join(root, path), join(target, path), { recursive: true });
  for (const path of productionPackages()) copyPackage(path, target);
  makeReadOnly(target);
  return target;
}

/** Without the packages that lie in it: they are listed by themselves. */
function copyPackage(path: string, target: string): void {
  const from = join(root, path);
  const nested = join(from, 'node_modules') + sep;
  cpSync(from, join(target, path), {
    recursive: true,
    filter: (source) => !`${source}${sep}`.startsWith(nested),
  });
}

function makeReadOnly(directory: string): void {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true });
  const directories = entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name));
  for (const path of [directory, ...directories]) chmodSync(path, 0o555);
  atEnd(async () => {
    for (const path of [directory, ...directories]) if (existsSync(path)) chmodSync(path, 0o755);
  });
}
