export { type ChatMessage, ChatTemplate } from './chat.ts';
export { tokenizerFromGguf } from './gguf.ts';
export { openTokenizer } from './open.ts';
export type { DecodeOptions, EncodeOptions, StreamDecoder, Tokenizer } from './tokenizer.ts';
