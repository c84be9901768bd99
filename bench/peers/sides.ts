// What is asked of both sides of a comparison, and what they answer.

/** Labelled texts, and how many tokens of a text are used. */
export interface Reviews {
  labels: string[];
  rows: { text: string; label: number }[];
  maxLength: number;
}

/** Text around a review, from the side that has it as tokens. */
export interface Template {
  before: string;
  after: string;
  /** Between prompt and answer. */
  joint: string;
}

export type Job = 'lora' | 'prompt' | 'eval';

/** Loads the model and makes it ready: an adapter and AdamW, or labels to score. */
export interface LoadRequest extends Reviews {
  do: 'load';
  job: Job;
  /** A GGUF file. */
  model: string;
  /** Reviews of an optimizer step. */
  batch: number;
  threads: number;
  seed: number;
}

export interface Loaded {
  /** What computes, with its versions. */
  description: string;
  /** Tokens of all reviews with prompt and answer, without padding. */
  tokens: number;
  /** The most the process has held so far. */
  peakBytes: number;
}

/** Goes on by so many optimizer steps, or scores the reviews of so many. Reviews are taken in order. */
export interface RunRequest {
  do: 'run';
  steps: number;
}

/** What was done in one turn. */
export interface Turn {
  /** Time of each optimizer step; of an evaluation, in all. */
  seconds: number[];
  reviews: number;
  /** Of the reviews with their prompts and answers, without padding. */
  tokens: number;
  /** Rows that went through the layers: with padding, and a shared prefix as often as it was computed. */
  computed: number;
  /** Of each step. */
  losses: number[];
  /** Of each review that was scored. */
  predictions: number[];
  peakBytes: number;
}
