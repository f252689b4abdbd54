/**
 * The built-in type `llm`: use of an inference API. A limit that is absent does not apply. The resource server
 * enforces the limits, separately for each token.
 */
export const llm = {
  schema: {
    type: 'object',
    required: ['type', 'models', 'actions'],
    additionalProperties: false,
    properties: {
      type: { const: 'llm' },
      models: {
        type: 'array',
        minItems: 1,
        maxItems: 50,
        uniqueItems: true,
        items: { type: 'string', minLength: 1, maxLength: 128 },
      },
      actions: {
        type: 'array',
        minItems: 1,
        uniqueItems: true,
        items: { enum: ['inference', 'embeddings', 'fine_tune', 'model_admin'] },
      },
      max_tokens_per_request: { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER },
      max_requests: { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER },
    },
  },
  narrowing: {
    models: 'subset',
    actions: 'subset',
    max_tokens_per_request: 'maximum',
    max_requests: 'maximum',
  },
} as const;
