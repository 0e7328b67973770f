"""`python -m unittest` in this folder, with the SDK on PYTHONPATH."""

import unittest

from filter import Filter, transom


class Test(unittest.TestCase):
    def test_who_has_the_header_passes(self):
        trial = transom.Trial(Filter, config='{"User": "admin"}')
        self.assertIsNone(trial.run(headers={"user": "admin"}).status)
        self.assertEqual(trial.run(headers={"user": "guest"}).status, 403)


if __name__ == "__main__":
    unittest.main()
