/** Replaces secrets in the chunks of a stream. The length of the stream does not change. */
export interface SecretFilter {
  /** Returns what can be sent now. The end of a chunk that may be the beginning of a secret is kept back. */
  push(chunk: Buffer): Buffer;
  /** Returns what was kept back. */
  end(): Buffer;
}

/** A shorter text would also be found where it is no secret. */
const shortest = 8;
const asterisk = 0x2a;

/** Returns the forms in which a response could contain a credential: as it is, in Base64, percent-encoded, and as JSON. */
export function echoesOf(secrets: readonly string[]): Buffer[] {
  const forms = secrets.flatMap((secret) => {
    const percent = encodeURIComponent(secret);
    const json = JSON.stringify(secret).slice(1, -1);
    return [
      secret,
      Buffer.from(secret).toString('base64').replace(/=+$/, ''),
      Buffer.from(secret).toString('base64url'),
      percent,
      percent.replaceAll(/%../g, (encoded) => encoded.toLowerCase()),
      json,
      // Some encoders escape the slash (RFC 8259 section 7 permits it).
      json.replaceAll('/', '\\/'),
    ];
  });
  return [...new Set(forms)].filter((form) => form.length >= shortest).map((form) => Buffer.from(form));
}

/** Replaces every occurrence of a form with as many asterisks. */
export function maskText(text: string, forms: readonly Buffer[]): string {
  return forms.reduce((masked, form) => masked.replaceAll(form.toString(), '*'.repeat(form.length)), text);
}

/** Creates a filter that finds the forms also across the borders of chunks. */
export function createSecretFilter(forms: readonly Buffer[]): SecretFilter {
  let kept: Buffer = Buffer.alloc(0);
  return {
    push(chunk) {
      if (forms.length === 0) return chunk;
      const all = mask(kept.length === 0 ? chunk : Buffer.concat([kept, chunk]), forms);
      const keep = longestBeginning(all, forms);
      kept = Buffer.from(all.subarray(all.length - keep));
      return all.subarray(0, all.length - keep);
    },
    end() {
      const rest = kept;
      kept = Buffer.alloc(0);
      return rest;
    },
  };
}

function mask(data: Buffer, forms: readonly Buffer[]): Buffer {
  let masked = data;
  for (const form of forms)
    for (let at = masked.indexOf(form); at !== -1; at = masked.indexOf(form, at + form.length)) {
      // Copied once, because the chunk belongs to the stream.
      if (masked === data) masked = Buffer.from(data);
      masked.fill(asterisk, at, at + form.length);
    }
  return masked;
}

/** Returns the length of the longest end of `data` with which a form begins. */
function longestBeginning(data: Buffer, forms: readonly Buffer[]): number {
  let longest = 0;
  for (const form of forms) {
    const first = form[0] ?? 0;
    const earliest = Math.max(0, data.length - form.length + 1);
    for (let at = data.indexOf(first, earliest); at !== -1; at = data.indexOf(first, at + 1)) {
      const length = data.length - at;
      if (length > longest && data.subarray(at).equals(form.subarray(0, length))) longest = length;
    }
  }
  return longest;
}
