"""What only the account can answer. Read only: nothing here creates, changes or deletes anything.

The plan comes from the recording of the program, what is there from AWS through boto3, and from the cluster's own API
where the caller may ask it. No state is read.
"""
