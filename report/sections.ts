import type { Evidence } from './evidence.ts';
import type { Section } from './section.ts';
import { blockSection, expertSection, layerSection } from './sections/architecture.ts';
import { gateSection, provenanceSection } from './sections/closing.ts';
import { efficiencySection } from './sections/efficiency.ts';
import { accuracySection, comparisonSection, lengthSection } from './sections/results.ts';
import { selectionSection } from './sections/selection.ts';
import { trainingSection } from './sections/training.ts';

/** The report in reading order; what a run did not make has no section. */
export function sectionsOf(evidence: Evidence): Section[] {
  const makers = [
    gateSection,
    accuracySection,
    comparisonSection,
    lengthSection,
    efficiencySection,
    layerSection,
    selectionSection,
    expertSection,
    blockSection,
    trainingSection,
    provenanceSection,
  ];
  return makers.flatMap((make) => make(evidence) ?? []);
}
