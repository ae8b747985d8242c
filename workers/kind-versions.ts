/** Versions of kinds are found by activities (which may import kinds/) and handed on to composition roots. */
export { kindVersions, type KindVersions } from '../activities/kind-versions.ts';
