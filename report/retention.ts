import { bootstrap, bootstrapAll, type Draw } from './bootstrap.ts';
import { effortsOf, type Answer, type Model, type PairedDifference, type Retention } from './evidence.ts';
import { drawnMeans, figureOf, withError, type FigureOf } from './gate-figures.ts';
import { ratio } from './statistics.ts';

type Answers = ReadonlyMap<string, readonly Answer[]>;

/** Of every model against every baseline: the mean over efforts and each effort, of the suite and of each task. */
export function retentionsOf(
  models: readonly Model[],
  baselines: readonly Model[],
  answers: Answers,
): Retention[] {
  return baselines.flatMap((baseline) =>
    models
      .filter((model) => model !== baseline)
      .flatMap((model) => retentionsBetween(model, baseline, answers)),
  );
}

function retentionsBetween(model: Model, baseline: Model, answers: Answers): Retention[] {
  const figures = figuresOf(model);
  const statistics = figures.map((of) => (draw: Draw): number | undefined => {
    const above = figureOf(of, drawnMeans(model, 'own', draw));
    const below = figureOf(of, drawnMeans(baseline, 'baseline', draw));
    return above === undefined || below === undefined ? undefined : above / below;
  });
  const [mine, theirs] = [answers.get(model.name), answers.get(baseline.name)];
  const drawn = mine === undefined || theirs === undefined ? [] : bootstrapAll(mine, theirs, statistics);
  return figures.flatMap((of, index) => {
    const [own, reference] = [withError(of, model), withError(of, baseline)];
    const plain = own === undefined || reference === undefined ? undefined : ratio(own, reference);
    if (plain === undefined) return [];
    const found = drawn[index];
    return {
      ...{ model: model.name, baseline: baseline.name, effort: of.effort ?? null, task: of.task ?? null },
      value: plain.value,
      standardError: found?.standardError ?? plain.standardError,
      interval: found?.interval ?? null,
    };
  });
}

/** The suite, then each task; of each the mean over efforts, then each effort. */
function figuresOf(model: Model): FigureOf[] {
  const efforts = [undefined, ...effortsOf([model])];
  const tasks = [undefined, ...[...new Set(model.tasks.map(({ task }) => task))].sort()];
  return tasks.flatMap((task) => efforts.map((effort): FigureOf => ({ metric: 'accuracy', effort, task })));
}

/** Accuracy of one model minus another's, by effort, over the same questions; nothing where they are not the same. */
export function pairedDifferences(
  left: readonly Answer[],
  right: readonly Answer[],
): Record<string, PairedDifference> {
  const efforts = [...new Set(left.map(({ effort }) => effort))];
  return Object.fromEntries(
    efforts.flatMap((effort) => {
      const [own, other] = [at(left, effort), at(right, effort)];
      const of = { measure: 'accuracy', effort, task: undefined } as const;
      const drawn = bootstrap(own, other, (draw) => draw.mean('own', of) - draw.mean('baseline', of));
      if (drawn === undefined) return [];
      const value = meanOverTasks(own) - meanOverTasks(other);
      const { standardError, interval, questions } = drawn;
      return [[effort, { value, standardError, interval, examples: questions }]];
    }),
  );
}

function at(answers: readonly Answer[], effort: string): Answer[] {
  return answers.filter((answer) => answer.effort === effort);
}

/** Each task weighs the same. */
function meanOverTasks(answers: readonly Answer[]): number {
  const tasks = [...new Set(answers.map(({ task }) => task))];
  const means = tasks.map((task) => {
    const own = answers.filter((answer) => answer.task === task);
    return own.filter(({ isCorrect }) => isCorrect).length / own.length;
  });
  return means.reduce((sum, mean) => sum + mean, 0) / means.length;
}
