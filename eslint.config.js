import tseslint from 'typescript-eslint';

/** Ambient time and randomness: only their homes in src/platform may touch them. */
const ambientTime = [
  {
    selector: "CallExpression[callee.object.name='Date'][callee.property.name='now']",
    message: 'Take a Clock; Date.now() lives in src/platform/clock.ts.',
  },
  {
    selector: "NewExpression[callee.name='Date'][arguments.length=0]",
    message: 'Take a Clock; the current time lives in src/platform/clock.ts.',
  },
  {
    selector: 'CallExpression[callee.name=/^(randomBytes|randomUUID|randomInt)$/]',
    message: 'Take a Random; entropy lives in src/platform/random.ts.',
  },
  {
    selector: "CallExpression[callee.object.name='Math'][callee.property.name='random']",
    message: 'Take a Random.',
  },
];
const ambientEnv = {
  selector: "MemberExpression[object.name='process'][property.name='env']",
  message: 'Only src/config.ts reads the environment.',
};
const selectStar = {
  selector: "CallExpression[callee.property.name='selectAll']",
  message: 'Enumerate the columns.',
};

export default tseslint.config(
  {
    ignores: [
      'dist/**',
      '.hallpass/**',
      '.hallpass-demo/**',
      'coverage/**',
      '**/*.gen.ts',
      'test/fixtures/**',
      'test/slow/clients/generated/**',
      // Types of what is generated when their tests run: those compile them.
      'test/slow/clients/drivers/**',
      '.ci/generators/**',
      '*.config.js',
      '.dependency-cruiser.cjs',
    ],
  },
  {
    files: ['**/*.ts', '**/*.js'],
    extends: [tseslint.configs.base],
    languageOptions: { parserOptions: { project: './tsconfig.json', tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      'max-lines': ['error', { max: 300 }],
      'max-lines-per-function': ['error', { max: 50 }],
      'max-params': 'off',
      '@typescript-eslint/max-params': ['error', { max: 3 }],
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/return-await': ['error', 'in-try-catch'],
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/only-throw-error': 'error',
      '@typescript-eslint/no-unnecessary-condition': 'error',
    },
  },
  {
    files: ['src/**/*.ts'],
    rules: { 'no-restricted-syntax': ['error', ...ambientTime, ambientEnv, selectStar] },
  },
  {
    files: ['src/platform/clock.ts', 'src/platform/random.ts'],
    rules: { 'no-restricted-syntax': ['error', ambientEnv, selectStar] },
  },
  { files: ['src/config.ts'], rules: { 'no-restricted-syntax': ['error', ...ambientTime, selectStar] } },
  {
    // Express knows an error handler by its four parameters.
    files: ['src/http/answer-error.ts'],
    rules: { '@typescript-eslint/max-params': ['error', { max: 4 }] },
  },
  {
    // A describe block or a long scenario is a list of steps, not one thing to hold in the head.
    files: ['test/**/*.ts'],
    rules: {
      'max-lines-per-function': 'off',
      '@typescript-eslint/max-params': 'off',
      '@typescript-eslint/no-unnecessary-condition': 'off',
    },
  },
);
