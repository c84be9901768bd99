export { type DeviceSummary, type Driver, type DriverOptions, openDriver } from './driver/driver.ts';
export * from './runtime.ts';
export type { LaunchCounts } from './sim/counters.ts';
export type { Instrumentation } from './sim/instrumentation.ts';
export { formatReport, type Report, type ReportKind } from './sim/report.ts';
export { openSimulator, type Simulator, type SimulatorOptions } from './sim/simulator.ts';
