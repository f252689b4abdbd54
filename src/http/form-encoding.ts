import { BrokerError } from '../errors.ts';
import { isCleanText } from '../platform/text.ts';

const maxFields = 50;

/** The parameters of a form. An empty parameter counts as absent (RFC 6749 section 3.2). */
export type Form = ReadonlyMap<string, string>;

/** Decodes one form-encoded text (RFC 6749 appendix B). Throws `URIError` for broken percent-encoding. */
export function decodeFormText(text: string): string {
  // Most values need no decoding, and this is the hot path.
  const spaced = text.includes('+') ? text.replaceAll('+', ' ') : text;
  return spaced.includes('%') ? decodeURIComponent(spaced) : spaced;
}

function malformed(detail: string): BrokerError {
  return new BrokerError('invalid-request', { detail });
}

/**
 * Parses a form (WHATWG URL section 5.1, RFC 6749 appendix B). Throws `invalid-request` for more than 50 fields, a
 * repeated parameter, broken percent-encoding, control characters and invalid Unicode. Throws `invalid-target` for a
 * repeated `resource`: RFC 8707 allows it, but this server issues a token for one resource.
 */
export function parseForm(body: string): Form {
  const form = new Map<string, string>();
  const fields = body === '' ? [] : body.split('&');
  if (fields.length > maxFields) throw malformed(`more than ${maxFields} parameters`);
  for (const field of fields) {
    if (field === '') continue;
    const at = field.indexOf('=');
    let name: string;
    let value: string;
    try {
      name = decodeFormText(at === -1 ? field : field.slice(0, at));
      value = at === -1 ? '' : decodeFormText(field.slice(at + 1));
    } catch {
      throw malformed('the form is not valid percent-encoding');
    }
    if (!isCleanText(name) || !isCleanText(value)) throw malformed('a parameter has a control character');
    if (form.has(name)) throw repeated(name);
    form.set(name, value);
  }
  for (const [name, value] of form) if (value === '') form.delete(name);
  return form;
}

function repeated(name: string): BrokerError {
  return name === 'resource'
    ? new BrokerError('invalid-target', { detail: 'a token is for one resource: send one request for each' })
    : malformed('a parameter is repeated');
}
