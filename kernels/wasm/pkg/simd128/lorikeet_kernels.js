/* @ts-self-types="./lorikeet_kernels.d.ts" */

/**
 * Lets every `worker_loop` return.
 */
export function close_pool() {
    wasm.close_pool();
}

/**
 * Records that worker `thread` can no longer finish its chunk; every launch from now on fails.
 * @param {number} thread
 */
export function fail_worker(thread) {
    wasm.fail_worker(thread);
}

/**
 * Address of the job that `scratch_bytes` and `launch` read.
 * @returns {number}
 */
export function job() {
    const ret = wasm.job();
    return ret >>> 0;
}

/**
 * The names of all kernels joined by newlines; a kernel's index is its line.
 * @returns {string}
 */
export function kernel_names() {
    let deferred1_0;
    let deferred1_1;
    try {
        const ret = wasm.kernel_names();
        deferred1_0 = ret[0];
        deferred1_1 = ret[1];
        return getStringFromWasm0(ret[0], ret[1]);
    } finally {
        wasm.__wbindgen_free(deferred1_0, deferred1_1, 1);
    }
}

/**
 * Runs the job. Returns 0 when it is done, t > 0 when worker t has failed (for good), -1 when the workers have been silent
 * for a while: the caller then looks whether they still live and calls `resume`.
 * @returns {number}
 */
export function launch() {
    const ret = wasm.launch();
    return ret;
}

/**
 * Goes on with a launch that returned -1; returns the same codes.
 * @returns {number}
 */
export function resume() {
    const ret = wasm.resume();
    return ret;
}

/**
 * Keeps the multipliers of 128-bit vectors busy and nothing else: `turns` × 384 multiply-adds. With neighbouring loads and
 * stores V8 would pair the chains into 256-bit ones. `data`: 400 bytes.
 * @param {number} turns
 * @param {number} data
 */
export function run_multiply_adds(turns, data) {
    wasm.run_multiply_adds(turns, data);
}

/**
 * Runs the micro-kernel for `rows` × `columns` on the same operands `turns` times (`gemm/tile.rs`). `kind`: 0 writes C,
 * 1 adds to it, 2 is for 16-bit integers.
 * @param {number} rows
 * @param {number} columns
 * @param {number} kind
 * @param {number} depth
 * @param {number} a
 * @param {number} b
 * @param {number} c
 * @param {number} stride
 * @param {number} turns
 */
export function run_tile(rows, columns, kind, depth, a, b, c, stride, turns) {
    wasm.run_tile(rows, columns, kind, depth, a, b, c, stride, turns);
}

/**
 * `turns` × 768 multiply-adds, for V8 to pair. `data`: 432 bytes.
 * @param {number} turns
 * @param {number} data
 */
export function run_wide_multiply_adds(turns, data) {
    wasm.run_wide_multiply_adds(turns, data);
}

/**
 * Scratch memory that the job's kernel needs on the pool's threads, in bytes.
 * @returns {number}
 */
export function scratch_bytes() {
    const ret = wasm.scratch_bytes();
    return ret >>> 0;
}

/**
 * Sets the number of threads, the caller of `launch` included.
 * @param {number} threads
 */
export function set_threads(threads) {
    wasm.set_threads(threads);
}

/**
 * Runs chunks of launches as thread `thread` until `close_pool`.
 * @param {number} thread
 */
export function worker_loop(thread) {
    wasm.worker_loop(thread);
}
function __wbg_get_imports(memory) {
    const import0 = {
        __proto__: null,
        __wbindgen_init_externref_table: function() {
            const table = wasm.__wbindgen_externrefs;
            table.set(0, undefined);
            table.set(1024, undefined);
            table.set(1025, null);
            table.set(1026, true);
            table.set(1027, false);
        },
        memory: memory || new WebAssembly.Memory({initial:18,maximum:65536,shared:true}),
    };
    return {
        __proto__: null,
        "./lorikeet_kernels_bg.js": import0,
    };
}

function getStringFromWasm0(ptr, len) {
    ptr = ptr >>> 0;
    return decodeText(getUint8ArrayMemory0().subarray(ptr, ptr + len));
}

let cachedUint8ArrayMemory0 = null;
function getUint8ArrayMemory0() {
    if (cachedUint8ArrayMemory0 === null || cachedUint8ArrayMemory0.buffer !== wasm.memory.buffer) {
        cachedUint8ArrayMemory0 = new Uint8Array(wasm.memory.buffer);
    }
    return cachedUint8ArrayMemory0;
}

let cachedTextDecoder = (typeof TextDecoder !== 'undefined' ? new TextDecoder('utf-8', { ignoreBOM: true }) : undefined);
if (cachedTextDecoder) cachedTextDecoder.decode();

const MAX_SAFARI_DECODE_BYTES = 2146435072;
let numBytesDecoded = 0;
function decodeText(bytes) {
    numBytesDecoded += bytes.length;
    if (numBytesDecoded >= MAX_SAFARI_DECODE_BYTES) {
        cachedTextDecoder = new TextDecoder('utf-8', { ignoreBOM: true });
        cachedTextDecoder.decode();
        numBytesDecoded = bytes.length;
    }
    return cachedTextDecoder.decode(bytes.slice());
}

let wasmModule, wasmInstance, wasm;
function __wbg_finalize_init(instance, module, thread_stack_size) {
    wasmInstance = instance;
    wasm = instance.exports;
    wasmModule = module;
    cachedUint8ArrayMemory0 = null;
    if (typeof thread_stack_size !== 'undefined' && (typeof thread_stack_size !== 'number' || thread_stack_size === 0 || thread_stack_size % 65536 !== 0)) {
        throw new Error('invalid stack size');
    }

    wasm.__wbindgen_start(thread_stack_size);
    return wasm;
}

async function __wbg_load(module, imports) {
    if (typeof Response === 'function' && module instanceof Response) {
        if (!module.ok) {
            throw new Error(`failed to fetch Wasm: ${module.status} ${module.statusText} fetching '${module.url}'`);
        }

        if (typeof WebAssembly.instantiateStreaming === 'function') {
            try {
                return await WebAssembly.instantiateStreaming(module, imports);
            } catch (e) {
                const validResponse = expectedResponseType(module.type);

                if (validResponse && module.headers.get('Content-Type') !== 'application/wasm') {
                    console.warn("`WebAssembly.instantiateStreaming` failed because your server does not serve Wasm with `application/wasm` MIME type. Falling back to `WebAssembly.instantiate` which is slower. Original error:\n", e);

                } else { throw e; }
            }
        }

        const bytes = await module.arrayBuffer();
        return await WebAssembly.instantiate(bytes, imports);
    } else {
        const instance = await WebAssembly.instantiate(module, imports);

        if (instance instanceof WebAssembly.Instance) {
            return { instance, module };
        } else {
            return instance;
        }
    }

    function expectedResponseType(type) {
        switch (type) {
            case 'basic': case 'cors': case 'default': return true;
        }
        return false;
    }
}

function initSync(module, memory) {
    if (wasm !== undefined) return wasm;

    let thread_stack_size
    if (module !== undefined) {
        if (Object.getPrototypeOf(module) === Object.prototype) {
            ({module, memory, thread_stack_size} = module)
        } else {
            console.warn('using deprecated parameters for `initSync()`; pass a single object instead')
        }
    }

    const imports = __wbg_get_imports(memory);
    if (!(module instanceof WebAssembly.Module)) {
        module = new WebAssembly.Module(module);
    }
    const instance = new WebAssembly.Instance(module, imports);
    return __wbg_finalize_init(instance, module, thread_stack_size);
}

let __wbg_init_promise;
async function __wbg_init(module_or_path, memory) {
    if (wasm !== undefined) return wasm;
    if (__wbg_init_promise === undefined) {
        __wbg_init_promise = __wbg_init_once(module_or_path, memory);
        __wbg_init_promise.catch(() => { __wbg_init_promise = undefined; });
    }
    return __wbg_init_promise;
}

async function __wbg_init_once(module_or_path, memory) {
    let thread_stack_size
    if (module_or_path !== undefined) {
        if (Object.getPrototypeOf(module_or_path) === Object.prototype) {
            ({module_or_path, memory, thread_stack_size} = module_or_path)
        } else {
            console.warn('using deprecated parameters for the initialization function; pass a single object instead')
        }
    }

    if (module_or_path === undefined) {
        module_or_path = new URL('lorikeet_kernels_bg.wasm', import.meta.url);
    }
    const imports = __wbg_get_imports(memory);

    if (typeof module_or_path === 'string' || (typeof Request === 'function' && module_or_path instanceof Request) || (typeof URL === 'function' && module_or_path instanceof URL)) {
        module_or_path = fetch(module_or_path);
    }

    const { instance, module } = await __wbg_load(await module_or_path, imports);

    return __wbg_finalize_init(instance, module, thread_stack_size);
}

export { initSync, __wbg_init as default };
