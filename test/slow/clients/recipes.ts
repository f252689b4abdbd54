import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../../e2e/support/build.ts';
import { blocksOf } from '../../e2e/support/markdown.ts';

/** A recipe of docs/clients.md: the commands that generate a client, and the program that uses it. */
export interface Recipe {
  commands: string;
  program: { file: string; text: string };
}

/**
 * Finds the recipe under a heading: its `sh` blocks, and the block whose first line is a comment with the name of its file.
 * `console` blocks are not run: they install what the tests already have.
 */
export function recipeOf(heading: string): Recipe {
  const lines = readFileSync(join(root, 'docs/clients.md'), 'utf8').split('\n');
  const begin = lines.indexOf(heading);
  if (begin === -1) throw new Error(`docs/clients.md has no heading "${heading}"`);
  const length = lines.slice(begin + 1).findIndex((line) => /^##/.test(line));
  const section = length === -1 ? lines.slice(begin) : lines.slice(begin, begin + 1 + length);
  const blocks = blocksOf(section.join('\n'));
  const commands = blocks.filter(({ language }) => language === 'sh').map(({ text }) => text);
  const programs = blocks.flatMap(({ text }) => {
    const file = /^(?:\/\/|#) ([\w.]+)\n/.exec(text)?.[1];
    return file === undefined ? [] : [{ file, text }];
  });
  const [program] = programs;
  if (program === undefined || programs.length > 1 || commands.length === 0) {
    throw new Error(`"${heading}" needs commands and one program`);
  }
  return { commands: commands.join('\n'), program };
}

/** Makes a folder with the contract and the program of a recipe, below this project's node_modules. */
export function createWorkspace(name: string, { program }: Recipe): string {
  const directory = join(import.meta.dirname, 'generated/recipes', name);
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  for (const file of ['openapi.yaml', 'openapi-3.0.yaml']) cpSync(join(root, file), join(directory, file));
  writeFileSync(join(directory, 'package.json'), '{ "type": "module" }\n');
  writeFileSync(join(directory, program.file), program.text);
  return directory;
}
