import { type Instruction, opcode, PtxError, type PtxModule } from '../ptx.ts';

const round = '.rn .rz .rm .rp';
const roundToInteger = '.rni .rzi .rmi .rpi';
const integers = '.u16 .s16 .u32 .s32 .u64 .s64';
const allIntegers = `.u8 .s8 ${integers}`;
const untyped = '.b16 .b32 .b64';
const compareIntegers = '.eq .ne .lt .le .gt .ge';
const compareFloats = `${compareIntegers} .equ .neu .ltu .leu .gtu .geu .num .nan`;
const spaces = '.global .const .shared .shared::cta .local';
const stored = `.b8 ${allIntegers} ${untyped} .f32 .f64`;
const scope = '[.cta .cluster .gpu .sys]';
const shared = '.shared .shared::cta';
const evict = '.L1::evict_normal .L1::evict_unchanged .L1::evict_first .L1::evict_last .L1::no_allocate';
const prefetch = '{.L2::64B .L2::128B .L2::256B}';
const place = `{.cta .cluster .gpu .sys}{.global ${shared}}`;
const [atom, red] = [`atom{.relaxed .acquire .release .acq_rel}${place}`, `red{.relaxed .release}${place}`];

/**
 * The instructions that run here, in the PTX manual's notation: of what stands in braces one or nothing is written, in brackets
 * one. Then the number of operands, and the target and PTX version that the form needs where sm_75 and 6.5 are not enough.
 */
const table = `
add[.u16 .s16 .u32 .u64 .s64] 3
add{.sat}.s32 3
[add addc sub subc].cc[.u32 .s32] 3
[addc subc][.u32 .s32] 3
sub[.u16 .s16 .u32 .u64 .s64] 3
sub{.sat}.s32 3
mul[.lo .hi][${integers}] 3
mul.wide[.u16 .s16 .u32 .s32] 3
mad[.lo .hi][${integers}] 4
mad.wide[.u16 .s16 .u32 .s32] 4
[mad madc][.lo .hi].cc[.u32 .s32] 4
madc[.lo .hi][.u32 .s32] 4
mul24[.lo .hi][.u32 .s32] 3
mad24[.lo .hi][.u32 .s32] 4
sad[${integers}] 4
[div rem min max][${integers}] 3
[abs neg][.s16 .s32 .s64] 2
dp4a[.u32 .s32][.u32 .s32] 4
dp2a[.lo .hi][.u32 .s32][.u32 .s32] 4

[add sub mul]{${round}}{.ftz}{.sat}.f32 3
[add sub mul]{${round}}.f64 3
[fma mad][${round}]{.ftz}{.sat}.f32 4
[fma mad][${round}].f64 4
div[.approx .full ${round}]{.ftz}.f32 3
div.rn.f64 3
[rcp sqrt][.approx ${round}]{.ftz}.f32 2
[rcp sqrt].rn.f64 2
[rcp rsqrt].approx.ftz.f64 2
[rsqrt ex2 lg2 sin cos].approx{.ftz}.f32 2
rsqrt.approx.f64 2
tanh.approx.f32 2 sm_75 7.0
[min max]{.ftz}.f32 3
[min max]{.ftz}.NaN.f32 3 sm_80 7.0
[min max]{.ftz}{.NaN}.f32 4 sm_100 8.8
[min max].f64 3
[abs neg]{.ftz}.f32 2
[abs neg].f64 2
copysign[.f32 .f64] 3
testp[.finite .infinite .number .notanumber .normal .subnormal][.f32 .f64] 2

[add sub mul]{.rn}{.ftz}{.sat}[.f16 .f16x2] 3
[add sub mul]{.rn}[.bf16 .bf16x2] 3 sm_90 7.8
fma.rn{.ftz}{.sat}[.f16 .f16x2] 4
fma.rn{.ftz}.relu[.f16 .f16x2] 4 sm_80 7.0
fma.rn{.relu}[.bf16 .bf16x2] 4 sm_80 7.0
[neg abs][.f16 .f16x2] 2
[neg abs][.bf16 .bf16x2] 2 sm_80 7.0
[min max]{.ftz}{.NaN}[.f16 .f16x2] 3 sm_80 7.0
[min max]{.NaN}[.bf16 .bf16x2] 3 sm_80 7.0
[ex2 tanh].approx[.f16 .f16x2] 2 sm_75 7.0
ex2.approx.ftz[.bf16 .bf16x2] 2 sm_90 7.8
tanh.approx[.bf16 .bf16x2] 2 sm_90 7.8

[and or xor][.pred ${untyped}] 3
not[.pred ${untyped}] 2
cnot[${untyped}] 2
shl[${untyped}] 3
shr[${untyped} ${integers}] 3
shf[.l .r][.wrap .clamp].b32 4
lop3.b32 5
prmt.b32{.f4e .b4e .rc8 .ecl .ecr .rc16} 4
bfe[.u32 .s32 .u64 .s64] 4
bfi[.b32 .b64] 5
[popc clz brev][.b32 .b64] 2
bfind{.shiftamt}[.u32 .s32 .u64 .s64] 2
bmsk[.clamp .wrap].b32 3 sm_75 7.6

setp[${compareIntegers}][.s16 .s32 .s64] 3
setp[${compareIntegers}][.and .or .xor][.s16 .s32 .s64] 4
setp[${compareIntegers} .lo .ls .hi .hs][.u16 .u32 .u64] 3
setp[${compareIntegers} .lo .ls .hi .hs][.and .or .xor][.u16 .u32 .u64] 4
setp[.eq .ne][${untyped}] 3
setp[.eq .ne][.and .or .xor][${untyped}] 4
setp[${compareFloats}]{.ftz}[.f32 .f16 .f16x2] 3
setp[${compareFloats}][.and .or .xor]{.ftz}[.f32 .f16 .f16x2] 4
setp[${compareFloats}].f64 3
setp[${compareFloats}][.and .or .xor].f64 4
setp[${compareFloats}][.bf16 .bf16x2] 3 sm_90 7.8
setp[${compareFloats}][.and .or .xor][.bf16 .bf16x2] 4 sm_90 7.8
set[${compareIntegers}][.u32 .s32 .f32][.s16 .s32 .s64] 3
set[${compareIntegers} .lo .ls .hi .hs][.u32 .s32 .f32][.u16 .u32 .u64] 3
set[.eq .ne][.u32 .s32 .f32][${untyped}] 3
set[${compareFloats}]{.ftz}[.u32 .s32 .f32].f32 3
set[${compareFloats}][.u32 .s32 .f32].f64 3
set[${compareFloats}]{.ftz}[.u16 .s16 .u32 .s32 .f16].f16 3
set[${compareFloats}]{.ftz}[.u32 .s32 .f16x2].f16x2 3
set[${compareFloats}][.u16 .s16 .u32 .s32 .bf16].bf16 3 sm_90 7.8
set[${compareFloats}][.u32 .s32 .bf16x2].bf16x2 3 sm_90 7.8
set[${compareIntegers}][.and .or .xor][.u32 .s32 .f32][.s16 .s32 .s64] 4
set[${compareIntegers} .lo .ls .hi .hs][.and .or .xor][.u32 .s32 .f32][.u16 .u32 .u64] 4
set[${compareFloats}][.and .or .xor]{.ftz}[.u32 .s32 .f32].f32 4
selp[${untyped} ${integers} .f32 .f64] 4
slct[${untyped} ${integers} .f32 .f64].s32 4
slct{.ftz}[${untyped} ${integers} .f32 .f64].f32 4

cvt[${allIntegers}][${allIntegers}] 2
cvt.sat.u8[.s8 ${integers}] 2
cvt.sat.s8[.u8 ${integers}] 2
cvt.sat.u16[.s8 .s16 .u32 .s32 .u64 .s64] 2
cvt.sat.s16[.u16 .u32 .s32 .u64 .s64] 2
cvt.sat.u32[.s8 .s16 .s32 .u64 .s64] 2
cvt.sat.s32[.u32 .u64 .s64] 2
cvt.sat.u64[.s8 .s16 .s32 .s64] 2
cvt.sat.s64.u64 2
cvt[${roundToInteger}]{.ftz}{.sat}[${allIntegers}].f32 2
cvt[${roundToInteger}]{.sat}[${allIntegers}][.f16 .f64] 2
cvt[${roundToInteger}][${integers}].bf16 2 sm_90 7.8
cvt[${round}]{.ftz}{.sat}.f32[${allIntegers} .f64] 2
cvt[${round}]{.sat}[.f16 .f64][${allIntegers}] 2
cvt[${round}].bf16[${integers} .f16 .f64] 2 sm_90 7.8
cvt[${round}]{.ftz}{.sat}.f16.f32 2
cvt[${round}]{.sat}.f16.f64 2
cvt[${round}].f16.bf16 2 sm_90 7.8
cvt[.rn .rz].relu.f16.f32 2 sm_80 7.0
cvt[.rn .rz]{.relu}.bf16.f32 2 sm_80 7.0
cvt[.rm .rp].bf16.f32 2 sm_90 7.8
cvt[.rn .rz]{.relu}[.f16x2 .bf16x2].f32 3 sm_80 7.0
cvt.rna.tf32.f32 2 sm_80 7.0
cvt[.rn .rz]{.relu}.tf32.f32 2 sm_90 7.8
cvt{${roundToInteger}}{.ftz}{.sat}.f32.f32 2
cvt{${roundToInteger}}{.sat}[.f16.f16 .f64.f64] 2
cvt{${roundToInteger}}.bf16.bf16 2 sm_90 7.8
cvt{.ftz}{.sat}[.f32.f16 .f64.f32] 2
cvt{.sat}.f64.f16 2
cvt.f32.bf16 2 sm_80 7.1
cvt.f64.bf16 2 sm_90 7.8
cvt.pack.sat[.u16 .s16].s32 3
cvt.pack.sat[.u8 .s8].s32.b32 4

mov[.pred ${untyped} ${integers} .f32 .f64] 2
cvta[${spaces}].u64 2
cvta.to[${spaces}].u64 2
cvta{.to}.param.u64 2 sm_75 7.7
isspacep[${spaces}] 2
isspacep.param 2 sm_75 7.7
membar[.cta .gl .sys] 0
fence{.sc .acq_rel}${scope} 0
fence[.acquire .release]${scope} 0 sm_90 8.6
fence.proxy.alias 0 sm_75 7.5
nanosleep.u32 1
prefetch{.global .local}[.L1 .L2] 1
prefetchu.L1 1

ld{.weak}{${spaces} .param .param::entry .param::func}{.ca .cg .cs .lu .cv}{.v2 .v4}[${stored}] 2
ld{.weak}{.global}{.ca .cg .cs .lu .cv ${evict}}${prefetch}{.v2 .v4}[${stored}] 2
ld.global{.ca .cg .cs}.nc${prefetch}{.v2 .v4}[${stored}] 2
ld.global.nc{.ca .cg .cs ${evict}}${prefetch}{.v2 .v4}[${stored}] 2
ld.volatile{.global ${shared}}{.v2 .v4}[${stored}] 2
[ld st].volatile.local{.v2 .v4}[${stored}] 2 sm_75 9.1
ld[.relaxed .acquire]${scope}{.global ${shared}}{.v2 .v4}[${stored}] 2
st{.weak}{.global ${shared} .local .param .param::func}{.wb .cg .cs .wt}{.v2 .v4}[${stored}] 2
st{.weak}{.global}[${evict}]{.v2 .v4}[${stored}] 2
st.volatile{.global ${shared}}{.v2 .v4}[${stored}] 2
st[.relaxed .release]${scope}{.global ${shared}}{.v2 .v4}[${stored}] 2
${atom}[.and .or .xor .exch][.b32 .b64] 3
${atom}.cas[${untyped}] 4
${atom}.add[.u32 .s32 .u64 .f32 .f64] 3
${atom}[.min .max][.u32 .s32 .u64 .s64] 3
${atom}[.inc .dec].u32 3
${atom}.add.noftz[.f16 .f16x2] 3
${atom}.add.noftz[.bf16 .bf16x2] 3 sm_90 7.8
${red}[.and .or .xor][.b32 .b64] 2
${red}.add[.u32 .s32 .u64 .f32 .f64] 2
${red}[.min .max][.u32 .s32 .u64 .s64] 2
${red}[.inc .dec].u32 2
${red}.add.noftz[.f16 .f16x2] 2
${red}.add.noftz[.bf16 .bf16x2] 2 sm_90 7.8
cp.async[.ca .cg][${shared}].global${prefetch} 3-4 sm_80 7.0
cp.async[.commit_group .wait_all] 0 sm_80 7.0
cp.async.wait_group 1 sm_80 7.0

shfl.sync[.up .down .bfly .idx].b32 5
vote.sync[.all .any .uni].pred 3
vote.sync.ballot.b32 3
match[.any .all].sync[.b32 .b64] 3
redux.sync[.add .min .max][.u32 .s32] 3 sm_80 7.0
redux.sync[.and .or .xor].b32 3 sm_80 7.0
activemask.b32 1
bar.warp.sync 1
bar.sync 1-2
bar.arrive 2
bar.red[.popc.u32 .and.pred .or.pred] 3-4
barrier.sync{.aligned} 1-2
barrier.arrive{.aligned} 2
barrier.red.popc{.aligned}.u32 3-4
barrier.red[.and .or]{.aligned}.pred 3-4
barrier.cta.sync{.aligned} 1-2 sm_75 7.8
barrier.cta.arrive{.aligned} 2 sm_75 7.8
barrier.cta.red.popc{.aligned}.u32 3-4 sm_75 7.8
barrier.cta.red[.and .or]{.aligned}.pred 3-4 sm_75 7.8
ldmatrix.sync.aligned.m8n8[.x1 .x2 .x4]{.trans}[${shared}].b16 2
mma.sync.aligned.m16n8k8.row.col[.f32.f16.f16.f32 .f16.f16.f16.f16] 4
mma.sync.aligned.m16n8k16.row.col[.f32.f16.f16.f32 .f16.f16.f16.f16] 4 sm_80 7.0
mma.sync.aligned[.m16n8k8 .m16n8k16].row.col.f32.bf16.bf16.f32 4 sm_80 7.0
mma.sync.aligned[.m16n8k4 .m16n8k8].row.col.f32.tf32.tf32.f32 4 sm_80 7.0

bra{.uni} 1
brx.idx{.uni} 2
ret{.uni} 0
exit 0
trap 0
`;

interface Need {
  readonly sm: number;
  readonly ptx: number;
}

/** What a modifier needs wherever it stands. */
const needOfModifier: Record<string, Need> = {
  'shared::cta': { sm: 75, ptx: 7.8 },
  'param::entry': { sm: 75, ptx: 8.3 },
  'param::func': { sm: 75, ptx: 8.3 },
  cluster: { sm: 90, ptx: 7.8 },
  'L2::64B': { sm: 75, ptx: 7.4 },
  'L2::128B': { sm: 75, ptx: 7.4 },
  'L2::256B': { sm: 80, ptx: 7.4 },
  ...Object.fromEntries(evict.split(' ').map((modifier) => [modifier.slice(1), { sm: 75, ptx: 7.4 }])),
};

export interface Form extends Need {
  /** As the manual writes it. */
  readonly syntax: string;
  /** The choices between the fixed parts: `optional` ones may be left out. */
  readonly choices: readonly { readonly options: readonly string[]; readonly optional: boolean }[];
  /** Matches an opcode as written; its groups are what was chosen. */
  readonly pattern: RegExp;
  readonly operands: readonly [least: number, most: number];
}

/** @internal for tests */
export const forms: readonly Form[] = table.split('\n').filter(Boolean).map(parseForm);

function parseForm(line: string): Form {
  // Only choices contain spaces, besides those in front of the columns.
  const [, syntax, operands, sm, ptx] = /^(.*?) ([\d-]+)(?: sm_(\d+) ([\d.]+))?$/.exec(line)!;
  const [least, most = least] = operands.split('-').map(Number);
  const choices: { options: string[]; optional: boolean }[] = [];
  const source = syntax.replace(/[[{](.*?)[\]}]|\./g, (whole, list: string | undefined) => {
    if (list === undefined) return '\\.';
    const optional = whole[0] === '{';
    choices.push({ options: list.split(' '), optional });
    return `(${list.replaceAll('.', '\\.').replaceAll(' ', '|')})${optional ? '?' : ''}`;
  });
  const pattern = new RegExp(`^${source}$`);
  return { syntax, choices, pattern, operands: [least, most], sm: Number(sm ?? 75), ptx: Number(ptx ?? 6.5) };
}

const known = new Map<string, readonly Form[]>();

/** The forms that an opcode is of: several may differ in operands and in what they need. */
function formsOf(written: string): readonly Form[] {
  let found = known.get(written);
  if (found === undefined) {
    found = forms.filter(({ pattern }) => pattern.test(written));
    known.set(written, found);
  }
  return found;
}

/** Target and PTX version that an opcode with so many operands needs; undefined if there is no such form. @internal for tests */
export function needOf(written: string, operands: number): Need | undefined {
  const fitting = formsOf(written).filter(({ operands: [least, most] }) => operands >= least && operands <= most);
  if (fitting.length === 0) return undefined;
  const needs = written.split('.').map((modifier) => needOfModifier[modifier] ?? fitting[0]);
  return { sm: Math.max(...needs.map(({ sm }) => sm)), ptx: Math.max(...needs.map(({ ptx }) => ptx)) };
}

/** Throws PtxError when an instruction has more or fewer operands than any form of it takes. */
export function checkOperands(i: Instruction): void {
  const ranges = formsOf(opcode(i)).map(({ operands }) => operands);
  if (ranges.length === 0) return;
  const [least, most] = [Math.min(...ranges.map((range) => range[0])), Math.max(...ranges.map((range) => range[1]))];
  const { length } = i.operands;
  if (length >= least && length <= most) return;
  const expected = least === most ? String(least) : `${least} to ${most}`;
  throw new PtxError(i.line, `${opcode(i)}: ${length} operands, expected ${expected}`);
}

/** Throws PtxError when an instruction is of no form in the table, or of one that its module's target or version has not. */
export function checkForm(i: Instruction, { target, version: [major, minor] }: PtxModule): void {
  const written = opcode(i);
  const need = needOf(written, i.operands.length);
  if (need === undefined)
    throw new PtxError(i.line, `${written}: a combination that PTX does not have, or that is not supported`);
  const sm = Number(/^sm_(\d+)/.exec(target)?.[1]);
  if (sm < need.sm || major + minor / 10 < need.ptx) {
    const found = `the module is PTX ${major}.${minor} for ${target}`;
    throw new PtxError(i.line, `${written} needs PTX ${need.ptx.toFixed(1)} and sm_${need.sm}; ${found}`);
  }
}
