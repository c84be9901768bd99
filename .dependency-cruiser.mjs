// Imports only point down: cli → peft → models → engine → kernels. Nothing imports the tests or the benchmarks.
const layers = ['cli', 'peft', 'models', 'engine', 'kernels'];

const pointsUp = layers.slice(1).map((layer, i) => ({
  name: `${layer}-imports-only-down`,
  severity: 'error',
  from: { path: `^${layer}/` },
  to: { path: `^(${[...layers.slice(0, i + 1), 'bench', 'test'].join('|')})/` },
}));

export default {
  forbidden: [
    ...pointsUp,
    {
      name: 'cli-imports-only-down',
      severity: 'error',
      from: { path: '^cli/' },
      to: { path: '^(bench|test)/' },
    },
    {
      name: 'engine-needs-no-package',
      comment: "The engine stands alone: Node's own modules, and the CUDA runtime with its FFI.",
      severity: 'error',
      from: { path: '^engine/' },
      to: { dependencyTypes: ['npm', 'npm-dev', 'npm-optional', 'npm-peer'], pathNot: '(@cuda-js/runtime|koffi)' },
    },
    {
      name: 'no-undeclared-package',
      severity: 'error',
      from: {},
      to: { dependencyTypes: ['npm-no-pkg', 'npm-unknown'] },
    },
    {
      name: 'no-development-package-in-what-ships',
      severity: 'error',
      from: { path: '^(cli|peft|models|engine|kernels)/' },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'no-cycle',
      comment: 'Type-only imports are gone at run time and make no cycle.',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    { name: 'no-missing-file', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    // Others' packages, there only where `npm run bench:peers` was run.
    exclude: { path: ['^bench/peers/packages/node_modules', '^kernels/cuda/runtime/dist'] },
    doNotFollow: { path: ['node_modules', 'kernels/wasm/pkg'] },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default', 'types'] },
  },
};
