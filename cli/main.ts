import { Command, CommanderError, Option } from 'commander';
import { checkFlags, type Given, readConfig } from './config.ts';
import { doctor } from './doctor.ts';
import { evaluate } from './eval.ts';
import { exitCodes, exitHelp, fail } from './exit.ts';
import { generate } from './generate.ts';
import { inspect } from './inspect.ts';
import { merge } from './merge.ts';
import { flagName, type OptionName, options } from './options.ts';
import { Output } from './output.ts';
import { pull } from './pull.ts';
import { train } from './train.ts';
import { runVerb, type Verb } from './verb.ts';
import { version } from './version.ts';

const verbs: readonly Verb[] = [train, evaluate, generate, merge, inspect, doctor, pull];

/** Flag of an option; a switch that is on by default is turned off with `--no-…`. */
function toFlag(name: OptionName): Option {
  const {
    kind,
    help,
    default: value,
    defaultText,
  } = options[name] as {
    kind: { argument?: string };
    help: string;
    default: unknown;
    defaultText?: string;
  };
  const shown = defaultText ?? (typeof value === 'boolean' ? undefined : value);
  const text =
    shown === undefined
      ? help
      : `${help} (default: ${typeof shown === 'string' && shown.includes(' ') && !defaultText ? `"${shown}"` : shown})`;
  if (value === true) return new Option(`--no-${flagName(name)}`, `do not ${text}`);
  return new Option(`--${flagName(name)}${kind.argument ? ` <${kind.argument}>` : ''}`, text);
}

async function runWithFlags(verb: Verb, flags: Given, operands: string[]): Promise<void> {
  const checked = checkFlags(flags);
  const config = typeof checked.config === 'string' ? await readConfig(checked.config, verb.options) : {};
  const given = { ...config, ...checked };
  await runVerb(verb, given, new Output(given.json === true), operands);
}

function program(): Command {
  const root = new Command('lorikeet')
    .description('Fine-tunes and evaluates LLaMA models with LoRA and prompt tuning, on CUDA or WebAssembly.')
    .version(version)
    .exitOverride()
    .showSuggestionAfterError()
    .addHelpText('after', `\nExit status:\n${exitHelp()}\n\nLORIKEET_DEBUG=1 shows where an error came from.`);
  for (const verb of verbs) {
    const command = root.command(verb.name).description(verb.summary).exitOverride();
    if (verb.operands) command.arguments(verb.operands);
    if (verb.details) command.addHelpText('after', `\n${verb.details}`);
    for (const name of verb.options) command.addOption(toFlag(name));
    command.action(async () => {
      const given = Object.entries(command.opts()).filter(([name]) => command.getOptionValueSource(name) === 'cli');
      await runWithFlags(verb, Object.fromEntries(given), command.args);
    });
  }
  return root;
}

try {
  await program().parseAsync();
} catch (error) {
  // commander has printed help, version or its complaint already.
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? exitCodes.ok.code : exitCodes.usage.code);
  fail(error);
}
