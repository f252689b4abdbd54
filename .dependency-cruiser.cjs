/**
 * The folders (and single files) of src/ in layers, from top to bottom. A folder imports only those after
 * it in this list, and a folder that is not listed fails the check. docs/architecture.md describes each.
 */
const layers = {
  process: ['main.ts', 'cli.ts', 'start', 'compose.ts', 'compose', 'config.ts'],
  surfaces: ['oauth', 'operation', 'gateway'],
  work: ['leases', 'requests', 'calls'],
  feeds: ['feeds'],
  tokens: ['tokens', 'client-auth'],
  features: ['agents', 'resources', 'policies', 'admins', 'keys', 'trusted-issuers'],
  credentials: ['client-secrets', 'replay', 'idempotency'],
  life: ['grants'],
  record: ['worker', 'audit'],
  engines: ['engines'],
  ground: [
    'embedded',
    'authorization-details',
    'outbound',
    'http',
    'db',
    'crypto',
    'caller.ts',
    'errors.ts',
    'platform',
  ],
};
const folders = Object.values(layers).flat();
const pathOf = (folder) => `^src/${folder.replace('.', '\\.')}${folder.endsWith('.ts') ? '$' : '/'}`;

const layerRules = folders.map((folder, position) => ({
  name: `${folder}-imports-only-folders-below`,
  severity: 'error',
  from: { path: pathOf(folder) },
  to: { path: '^src/', pathNot: folders.slice(position).map(pathOf) },
}));

/** Files without I/O: neither they nor anything that they import, directly or not, reads or writes. */
const pure = [
  'admins/admin',
  'agents/agent',
  'agents/credentials/credential',
  'audit/(audit-event|bounded-event)',
  'authorization-details/(details-type|llm|schema|size)',
  'client-auth/restrictions',
  'client-secrets/client-secret',
  'engines/(mapping|target-failure)',
  'engines/(account-name|mapping|target-failure|terms)',
  'calls/call',
  'gateway/(call-credential|call-target|forwarded-headers|secret-filter)',
  'grants/(delegation|facts|grant|liveness|states|endings/ending)',
  'leases/lease',
  'keys/(rotation-plan|signing-key)',
  'oauth/(shape|token-parameter|token-exchange/exchange-shape)',
  'platform/retry',
  'policies/(decision|decision-facts|hints)',
  'requests/request-digest',
  'resources/(resource|connections/connection|upstreams/(header-names|own-origins|route-pattern|upstream))',
  'tokens/(select-grant|token-expiry)',
  'trusted-issuers/(conditions|identity)',
  'worker/(schedules|slots)',
].map((file) => `^src/${file}\\.ts$`);
const effects = [
  '/store(\\.ts$|/)',
  '/(service|routes)\\.ts$',
  '^src/db/',
  'node_modules/(pg|kysely|undici|express|pino)/',
  '^(node:)?(fs|fs/promises|http|https|net|tls|dns|dns/promises|child_process)$',
];

module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    ...layerRules,
    {
      name: 'every-folder-is-listed',
      severity: 'error',
      from: { path: '^src/', pathNot: folders.map(pathOf) },
      to: {},
    },
    {
      name: 'imports-only-listed-folders',
      severity: 'error',
      from: {},
      to: { path: '^src/', pathNot: folders.map(pathOf) },
    },
    {
      name: 'a-store-belongs-to-its-folder',
      severity: 'error',
      // compose wires everything, stores included.
      from: { path: '^src/([^/]+)/', pathNot: '^src/compose/' },
      to: { path: ['^src/[^/]+/store(\\.ts$|/)', '^src/[^/]+/[^/]+/store(\\.ts$|/)'], pathNot: '^src/$1/' },
    },
    {
      name: 'pure-files-do-no-io',
      severity: 'error',
      from: { path: pure },
      to: { path: effects, reachable: true },
    },
    {
      name: 'store-below-service',
      severity: 'error',
      from: { path: '/store(\\.ts$|/)' },
      to: { path: ['/service\\.ts$', '/routes\\.ts$', '^src/http/'] },
    },
    {
      name: 'service-below-routes',
      severity: 'error',
      from: { path: '/service\\.ts$' },
      to: { path: ['/routes\\.ts$', '^src/http/'] },
    },
    {
      name: 'routes-do-no-sql',
      severity: 'error',
      from: { path: '/routes\\.ts$' },
      to: { path: ['/store(\\.ts$|/)', '^src/db/', 'node_modules/(pg|kysely)/'] },
    },
    {
      name: 'express-only-at-the-edge',
      severity: 'error',
      from: { path: '^src/', pathNot: ['^src/http/', '/routes\\.ts$'] },
      to: { path: 'node_modules/(express|helmet|express-openapi-validator)/' },
    },
    {
      name: 'cedar-has-one-home',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/policies/cedar\\.ts$' },
      to: { path: 'node_modules/@cedar-policy/' },
    },
    {
      name: 'engines-know-no-database-of-the-broker',
      severity: 'error',
      // An engine works on other servers: what it needs is in its options.
      from: { path: '^src/engines/' },
      to: { path: ['^src/db/', '^src/http/', '^src/(caller|errors)\\.ts$', 'node_modules/kysely/'] },
    },
    {
      name: 'source-does-not-import-tests',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^(test|scripts)/' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
    },
  },
};
