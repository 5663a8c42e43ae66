/* a stand-in */
int test_vmalloc_value(void)
{
	return 1;
}
