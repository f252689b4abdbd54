import { chmodSync, cpSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, sep } from 'node:path';
import { atEnd } from '../../support/at-end.ts';
import { temporaryDirectory } from './broker-process.ts';
import { root } from './build.ts';

interface Lock {
  packages: Record<string, { dev?: boolean; optional?: boolean; devOptional?: boolean }>;
}

/** Returns the packages that `npm ci --omit=dev --omit=optional` installs, as paths in the repository. */
export function productionPackages(): string[] {
  const { packages }: Lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  return Object.entries(packages)
    .filter(([path, { dev, optional, devOptional }]) => path !== '' && !dev && !optional && !devOptional)
    .map(([path]) => path);
}

/**
 * Creates the tree of the image's last stage without a registry: a copy of the installed packages that a production
 * install has. It is read-only.
 */
export async function installForProduction(copied: readonly string[]): Promise<string> {
  const target = await temporaryDirectory();
  for (const path of copied) cpSync(join(root, path), join(target, path), { recursive: true });
  for (const path of productionPackages()) copyPackage(path, target);
  makeReadOnly(target);
  return target;
}

/** Copies a package without the packages within it, which are listed separately. */
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
