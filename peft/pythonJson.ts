/** A number that Python holds as a float, so that it is written with a point or an exponent. */
export class PyFloat {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }
}

/** Python's repr of a float: shortest digits that read back, exponents from 1e16 and below 1e-4, of two digits at least. */
function repr(x: number): string {
  const magnitude = Math.abs(x);
  if (magnitude !== 0 && (magnitude < 1e-4 || magnitude >= 1e16)) {
    const [digits, exponent] = x.toExponential().split('e');
    return `${digits}e${exponent[0]}${exponent.slice(1).padStart(2, '0')}`;
  }
  const text = String(x);
  return text.includes('.') ? text : `${text}.0`;
}

const ascii = (text: string): string =>
  JSON.stringify(text).replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);

/** `json.dumps(value, indent=2, sort_keys=True)`, byte for byte. */
export function pythonJson(value: unknown, indent = ''): string {
  const inner = `${indent}  `;
  const wrap = (items: string[], [open, close]: string): string =>
    items.length ? `${open}\n${inner}${items.join(`,\n${inner}`)}\n${indent}${close}` : open + close;
  if (value === null || value === undefined) return 'null';
  if (value instanceof PyFloat) return repr(value.value);
  if (typeof value === 'string') return ascii(value);
  if (typeof value !== 'object') return String(value);
  if (Array.isArray(value))
    return wrap(
      value.map((v) => pythonJson(v, inner)),
      '[]',
    );
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return wrap(
    fields.map(([k, v]) => `${ascii(k)}: ${pythonJson(v, inner)}`),
    '{}',
  );
}
