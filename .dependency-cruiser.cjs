/**
 * Imports point one way:
 * platform, errors <- pure <- db, crypto <- store <- service <- routes <- http/app <- compose <- main
 */
const feature = '^src/(admins|agents|trusted-issuers|resources|policies|grants|keys|oauth|audit|worker)/';
const features = [
  'admins',
  'agents',
  'trusted-issuers',
  'resources',
  'policies',
  'grants',
  'keys',
  'oauth',
  'audit',
  'worker',
];

/** Which feature's services may call which other feature's. Anyone may append to audit. */
const allowed = {
  admins: [],
  agents: ['admins', 'trusted-issuers'],
  'trusted-issuers': [],
  resources: [],
  policies: ['admins'],
  grants: ['agents', 'resources', 'policies', 'admins'],
  keys: [],
  oauth: ['agents', 'trusted-issuers', 'resources', 'grants', 'keys', 'policies'],
  audit: [],
  worker: ['keys', 'grants', 'oauth', 'admins', 'audit'],
};

module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'platform-imports-nothing',
      severity: 'error',
      from: { path: '^src/(platform/|errors\\.ts)' },
      to: { path: '^src/', pathNot: '^src/(platform/|errors\\.ts)' },
    },
    {
      name: 'db-and-crypto-below-features',
      severity: 'error',
      from: { path: '^src/(db|crypto)/' },
      to: { path: ['^src/http/', feature, '^src/(compose|main|cli)\\.ts'] },
    },
    {
      name: 'store-below-service',
      severity: 'error',
      from: { path: '/store\\.ts$' },
      to: { path: ['/service\\.ts$', '/routes\\.ts$', '^src/http/'] },
    },
    {
      name: 'service-below-routes',
      severity: 'error',
      from: { path: '/service\\.ts$' },
      to: { path: ['/routes\\.ts$', '^src/http/', '^src/compose'] },
    },
    {
      name: 'routes-do-no-sql',
      severity: 'error',
      from: { path: '/routes\\.ts$' },
      to: { path: ['/store\\.ts$', '^src/db/', 'node_modules/(pg|kysely)/'] },
    },
    {
      name: 'nothing-imports-compose',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/((main|cli|compose)\\.ts$|compose/)' },
      to: { path: '^src/compose(\\.ts$|/)' },
    },
    {
      name: 'nothing-imports-main',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^src/(main|cli)\\.ts$' },
    },
    {
      name: 'http-does-not-know-features',
      severity: 'error',
      from: { path: '^src/http/' },
      to: { path: feature, pathNot: '/audit/audit-event\\.ts$' },
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
      name: 'source-does-not-import-tests',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^(test|scripts)/' },
    },
    ...features.map((name) => ({
      name: `${name}-calls-only-what-it-may`,
      severity: 'error',
      from: { path: `^src/${name}/` },
      to: { path: feature, pathNot: `^src/(${[name, 'audit', ...allowed[name]].join('|')})/` },
    })),
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
