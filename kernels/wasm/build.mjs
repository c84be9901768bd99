// Builds the WebAssembly kernels: pkg/simd128 for every engine, pkg/relaxed (fused multiply-add) where relaxed SIMD exists.
//
//   npm run build:wasm
//
// Threads share one memory, so the standard library is compiled anew with atomics (-Zbuild-std). That takes a nightly
// compiler, or a stable one told to accept nightly options, with the library's sources; what is missing is installed where
// that needs no questions, else the message says what to install and the exit status is 3.
import { execFileSync, spawnSync } from 'node:child_process';
import { accessSync, constants, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { artefacts, fingerprint } from '../../.ci/sources.mjs';

const crate = dirname(fileURLToPath(import.meta.url));
const target = 'wasm32-unknown-unknown';
const wasmPackVersion = '0.15.1';
const builds = { simd128: [], relaxed: ['--config', '.cargo/relaxed.toml'] };
const cargoHome = process.env.CARGO_HOME ?? join(homedir(), '.cargo');
const tools = join(crate, 'target', 'tools');
const debian = ['rustc-web', 'cargo-web', 'rust-web-src', 'lld-22'];

class ToolchainMissing extends Error {}

try {
  process.chdir(join(crate, '..', '..'));
  const compiler = debianCompiler() ?? rustupCompiler() ?? installCompiler();
  const path = [join(tools, 'bin'), ...compiler.path, process.env.PATH, join(cargoHome, 'bin')].join(delimiter);
  const env = { ...process.env, ...compiler.env, PATH: path };
  needTool('wasm-pack', wasmPackVersion, 'wasm-pack', env);
  needTool('wasm-bindgen', lockedVersion('wasm-bindgen', env), 'wasm-bindgen-cli', env);
  for (const [name, options] of Object.entries(builds)) build(name, options, env);
  // Replaced only when both are there: a build that fails leaves the committed packages alone.
  for (const name of Object.keys(builds)) {
    rmSync(join(crate, 'pkg', name), { recursive: true, force: true });
    cpSync(join(crate, 'target', 'pkg', name), join(crate, 'pkg', name), { recursive: true });
  }
  writeFileSync(artefacts.wasm.record, fingerprint(artefacts.wasm));
} catch (error) {
  if (!(error instanceof ToolchainMissing) && error.status === undefined) throw error;
  console.error(`\nbuild:wasm: ${error.message}`);
  process.exit(error instanceof ToolchainMissing ? 3 : 1);
}

function build(name, options, env) {
  console.log(`\n# pkg/${name}`);
  // No path of the building machine may end up in the module (panic messages carry file names).
  const remap = [`${cargoHome}=cargo`, `${crate}=kernels/wasm`].map((map) => `--remap-path-prefix=${map}`);
  const flags = ['--config', `target.${target}.rustflags=${JSON.stringify(remap)}`];
  const output = ['--target', 'web', '--no-pack', '--no-gitignore', '--out-dir', join('target', 'pkg', name)];
  run('wasm-pack', ['build', '--release', '--mode', 'no-install', ...output, '.', '--', ...options, ...flags], {
    cwd: crate,
    env: { ...env, CARGO_TARGET_DIR: join(crate, 'target', name) },
  });
}

/** Debian's compiler for the web: stable, with the library's sources, told by RUSTC_BOOTSTRAP to accept nightly options. */
function debianCompiler() {
  if (!['/usr/bin/rustc', '/usr/bin/cargo', '/usr/bin/wasm-ld-22'].every(existsSync)) return;
  const library = join(output('/usr/bin/rustc', ['--print', 'sysroot']), 'lib', 'rustlib');
  if (!existsSync(join(library, 'src', 'rust', 'library', 'Cargo.toml'))) return;
  const lib = join(library, target, 'lib');
  if (!existsSync(lib)) {
    // wasm-pack believes a target to be installed when this folder exists; with -Zbuild-std nothing in it is needed.
    if (!writable(library)) throw new ToolchainMissing(`this folder must exist; make it as root: mkdir -p ${lib}`);
    mkdirSync(lib, { recursive: true });
  }
  return { path: ['/usr/bin'], env: { RUSTC: '/usr/bin/rustc', CARGO: '/usr/bin/cargo', RUSTC_BOOTSTRAP: '1' } };
}

/** rustup's nightly with rust-src; its own lld takes the place of Debian's. */
function rustupCompiler() {
  const library = join(output('rustc', ['+nightly', '--print', 'sysroot']) ?? '', 'lib', 'rustlib');
  if (![join(library, 'src', 'rust', 'library', 'Cargo.toml'), join(library, target)].every(existsSync)) return;
  return { path: [], env: { RUSTUP_TOOLCHAIN: 'nightly', CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER: 'rust-lld' } };
}

function installCompiler() {
  if (process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')) {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    attempt('apt-get', ['update'], { env });
    attempt('apt-get', ['install', '-y', '--no-install-recommends', '--no-remove', ...debian], { env });
  } else if (output('rustup', ['--version'])) {
    attempt('rustup', ['toolchain', 'install', 'nightly', '--profile', 'minimal', '-c', 'rust-src', '-t', target]);
  }
  const compiler = debianCompiler() ?? rustupCompiler();
  if (compiler) return compiler;
  throw new ToolchainMissing(`no Rust compiler for ${target} with the sources of its library. Install one of
  Debian or Ubuntu:  apt-get install ${debian.join(' ')}
  anywhere:          rustup toolchain install nightly --profile minimal -c rust-src -t ${target}`);
}

/** Puts `binary` into target/tools unless the wanted version is on the path; another version on the path is left alone. */
function needTool(binary, version, crateName, env) {
  const installed = () => output(binary, ['--version'], { env })?.split(' ')[1] === version;
  if (installed()) return;
  console.log(`\n# ${binary} ${version} (takes two minutes)`);
  // Of the versions that the tool was released with, a mirror of the registry may lack one: then others that fit.
  for (const lock of [['--locked'], []]) {
    attempt('cargo', ['install', ...lock, '--root', tools, `${crateName}@${version}`], { env: hostEnvironment() });
    if (installed()) return;
  }
  throw new ToolchainMissing(`${binary} ${version} is missing: cargo install --locked ${crateName}@${version}`);
}

/** The tools are ordinary programs of this machine: any cargo will do, its own if it has one. */
function hostEnvironment() {
  return { ...process.env, PATH: [process.env.PATH, join(cargoHome, 'bin'), '/usr/bin'].join(delimiter) };
}

/** The version of a dependency that the crate is locked to: the glue and its generator must be the same. */
function lockedVersion(dependency, env) {
  const lock = join(crate, 'Cargo.lock');
  if (!existsSync(lock)) run('cargo', ['generate-lockfile'], { cwd: crate, env });
  return new RegExp(`name = "${dependency}"\nversion = "(.+)"`).exec(readFileSync(lock, 'utf8'))[1];
}

function run(command, args, options) {
  execFileSync(command, args, { stdio: 'inherit', ...options });
}

/** Like `run`; whether it worked is seen by what is there afterwards. */
function attempt(command, args, options) {
  console.log(`$ ${command} ${args.join(' ')}`);
  spawnSync(command, args, { stdio: 'inherit', ...options });
}

/** What a command prints, or undefined where it fails or does not exist. */
function output(command, args, options) {
  const result = spawnSync(command, args, { encoding: 'utf8', ...options });
  return result.status === 0 ? result.stdout.trim() : undefined;
}

function writable(folder) {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
