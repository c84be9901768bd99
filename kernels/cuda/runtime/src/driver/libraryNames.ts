const names: Partial<Record<NodeJS.Platform, readonly string[]>> = {
  // The second is where WSL mounts the Windows driver, which is not always on the loader's path.
  linux: ['libcuda.so.1', '/usr/lib/wsl/lib/libcuda.so.1', 'libcuda.so'],
  win32: ['nvcuda.dll'],
};

/** What the driver's library is called, best first; nothing on a platform that CUDA has no driver for. */
export const libraryNames = (platform: NodeJS.Platform): readonly string[] => names[platform] ?? [];
