// PTX ISA version → CUDA version of the first driver that compiles it (PTX manual, "PTX ISA Version History").
const firstDriver: Readonly<Record<string, string>> = {
  '6.0': '9.0',
  '6.1': '9.1',
  '6.2': '9.2',
  '6.3': '10.0',
  '6.4': '10.1',
  '6.5': '10.2',
  '7.0': '11.0',
  '7.1': '11.1',
  '7.2': '11.2',
  '7.3': '11.3',
  '7.4': '11.4',
  '7.5': '11.5',
  '7.6': '11.6',
  '7.7': '11.7',
  '7.8': '11.8',
  '8.0': '12.0',
  '8.1': '12.1',
  '8.2': '12.2',
  '8.3': '12.3',
  '8.4': '12.4',
  '8.5': '12.5',
  '8.6': '12.7',
  '8.7': '12.8',
  '8.8': '12.9',
  '9.0': '13.0',
  '9.1': '13.1',
  '9.2': '13.2',
  '9.3': '13.3',
  '9.4': '13.4',
  '9.5': '13.5',
};

/** cuDriverGetVersion's number as people write it: 12040 → "12.4". */
export const versionText = (version: number): string =>
  `${Math.floor(version / 1000)}.${Math.floor(version / 10) % 100}`;

const versionNumber = (text: string): number => {
  const [major, minor] = text.split('.').map(Number);
  return 1000 * major + 10 * minor;
};

/** CUDA version of the first driver for PTX `.version ptx`; undefined when newer than this table. */
export const driverFor = (ptx: string): string | undefined => firstDriver[ptx];

/** True when a driver of `version` is known to be too old for PTX `.version ptx`. */
export function tooOldFor(version: number, ptx: string): boolean {
  const needed = driverFor(ptx);
  return needed !== undefined && versionNumber(needed) > version;
}

/** The newest PTX `.version` that a driver of `version` compiles; undefined below PTX 6.0. */
export function newestPtx(version: number): string | undefined {
  return Object.keys(firstDriver).findLast((ptx) => !tooOldFor(version, ptx));
}
