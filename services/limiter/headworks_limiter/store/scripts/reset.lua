-- reset: make buckets full again.
--
-- KEYS     the buckets, of one cell
-- ARGV     none
--
-- returns  how many of them held anything
-- effect   deletes the buckets; records of grants stay
-- cost     O(buckets)

return redis.call('UNLINK', unpack(KEYS))
