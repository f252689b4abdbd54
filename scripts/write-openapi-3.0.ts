import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { toOpenapi30 } from './openapi-3.0.ts';

/** Writes openapi-3.0.yaml; a part of `npm run generate:api`. */
const root = join(import.meta.dirname, '..');
const contract = parse(readFileSync(join(root, 'openapi.yaml'), 'utf8'));
writeFileSync(join(root, 'openapi-3.0.yaml'), toOpenapi30(contract));
