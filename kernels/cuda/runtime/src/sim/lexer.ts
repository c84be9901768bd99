import { PtxError } from './ptx.ts';

type TokenKind = 'word' | 'directive' | 'integer' | 'float' | 'string' | 'punctuation' | 'end';

export interface Token {
  readonly kind: TokenKind;
  readonly text: string;
  readonly line: number;
}

// One alternative per kind, tried in this order at every position. A word may carry dots (`ld.global.v2.f32`, `%tid.x`).
const pattern = new RegExp(
  [
    String.raw`(?<skip>[ \t\r]+|//[^\n]*|/\*[\s\S]*?\*/)`,
    String.raw`(?<newline>\n)`,
    String.raw`(?<string>"(?:[^"\\]|\\.)*")`,
    String.raw`(?<float>0[fF][0-9a-fA-F]{8}|0[dD][0-9a-fA-F]{16}|\d+\.\d*(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+)`,
    String.raw`(?<integer>0[xX][0-9a-fA-F]+U?|0[bB][01]+U?|\d+U?)`,
    String.raw`(?<directive>\.[A-Za-z_]\w*(?:::\w+)*)`,
    String.raw`(?<word>[%$A-Za-z_][\w$]*(?:\.\w+(?:::\w+)*)*)`,
    String.raw`(?<punctuation>[{}()[\];:,<>=+\-!|@*/&~^?])`,
  ].join('|'),
  'y',
);

/** Cuts PTX text into tokens; the last one has kind 'end'. Throws PtxError at a character that starts no token. */
export function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  let line = 1;
  pattern.lastIndex = 0;
  while (pattern.lastIndex < text.length) {
    const at = pattern.lastIndex;
    const match = pattern.exec(text);
    if (match === null) throw new PtxError(line, `unexpected character ${JSON.stringify(text[at])}`);
    const groups = match.groups!;
    if (groups.newline !== undefined) line++;
    else if (groups.skip !== undefined) line += match[0].split('\n').length - 1;
    else {
      const kind = (['word', 'directive', 'integer', 'float', 'string', 'punctuation'] as const).find(
        (k) => groups[k] !== undefined,
      )!;
      tokens.push({ kind, text: match[0], line });
    }
  }
  tokens.push({ kind: 'end', text: 'end of file', line });
  return tokens;
}
