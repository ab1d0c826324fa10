/* Built for another version of harness/candidate.h. */
const int fal_candidate_abi = 7;
