export { loadAdapter, saveAdapter } from './adapter.ts';
export { parseAnswer } from './answer.ts';
export {
  balanced,
  DataError,
  type DataRow,
  type LabelledRow,
  type LoadOptions,
  labelledRows,
  loadData,
} from './data.ts';
export { evaluate } from './evaluate.ts';
export type { Example } from './examples.ts';
export { defaultLora, type LoraConfig, type LoraInit } from './lora.ts';
export { type MergeReport, saveMerged } from './merge.ts';
export { type Metrics, metrics, type Outcome, wilson } from './metrics.ts';
export { PeftModel } from './model.ts';
export { NonFiniteError } from './nonFinite.ts';
export {
  MemoryError,
  type MemoryParts,
  type Planned,
  planEvaluation,
  planGeneration,
  planTraining,
  type TrainingPlan,
  totalBytes,
} from './plan.ts';
export type { PromptConfig, PromptInit } from './prompt.ts';
export { LabelScorer, type LabelTokens, labelTokens, type Score } from './score.ts';
export { type AdapterRecord, readSettings, writeSettings } from './settings.ts';
export { type Fingerprint, loadCheckpoint, saveCheckpoint } from './state.ts';
export { Classification, completionExamples, type Labelled, type TaskOptions } from './task.ts';
export { defaultInstruction, type PromptTemplate, promptTemplate, type TemplateName } from './template.ts';
export { type StepEvent, Trainer, type TrainOptions, type TrainState, train, trainDefaults } from './train.ts';
export { meanLoss } from './validate.ts';
