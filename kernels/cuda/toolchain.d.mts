/** Paths of nvcc and of the ptxas beside it. @throws ToolchainMissing saying what to install */
export function compiler(): { nvcc: string; ptxas: string };
