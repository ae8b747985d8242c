import { describe } from 'vitest';
import { radosgwIsMissing } from '../support/radosgw.ts';
import { describeArtifacts } from './artifacts-contract.ts';
import { describeBackend } from './backend-contract.ts';
import { describeNames } from './names-contract.ts';
import { describePieces } from './pieces-contract.ts';
import { openS3BackendRig, openS3StoreRig } from './s3-rig.ts';

describe.skipIf(radosgwIsMissing() !== undefined)('on S3 (radosgw)', () => {
  describe('a prefix of a bucket', () => {
    describeBackend(openS3BackendRig);
  });
  describe('the store', () => {
    describeArtifacts(() => openS3StoreRig());
    describeNames(() => openS3StoreRig());
    describePieces(() => openS3StoreRig());
  });
});
